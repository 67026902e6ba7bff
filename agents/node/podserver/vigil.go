package podserver

import (
	"context"
	"errors"
	"slices"
	"time"

	"karve.dev/karve/agents/node/runtime"
	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
)

const (
	// vigilEvery is how often a session's container is looked at; one that has ended twice over has taken the session with it.
	vigilEvery = 2 * time.Second
	// killedCode is what a command ends with that its container takes with it.
	killedCode = 128 + 9
)

var errContainerEnded = errors.New("the container has ended")

// vigil ends a session some seconds after its container, until ctx does. The engine should; but of a command that begins while its
// container ends it may never tell the end.
func (s *Server) vigil(ctx context.Context, ref *agentv1.PodRef, id string, end context.CancelCauseFunc) {
	tick := time.NewTicker(vigilEvery)
	defer tick.Stop()
	for ended := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.runs(ref, id) {
			continue
		}
		if ended {
			end(errContainerEnded)
			return
		}
		ended = true
	}
}

// runs tells whether one certain container of a pod still runs.
func (s *Server) runs(ref *agentv1.PodRef, id string) bool {
	pod, name, err := s.find(ref)
	return err == nil && slices.ContainsFunc(pod.Containers[name], func(c runtime.Container) bool {
		return c.ID == id && c.State == runtime.Running
	})
}
