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
	// vigilEvery is how often a session's container is looked at; one that has ended takes a silent session with it.
	vigilEvery = 2 * time.Second
	// vigilQuiet is at how many looks nothing must have been said: much may be left to say, to somebody who reads slowly.
	vigilQuiet = 4
	// killedCode is what a command ends with that its container takes with it.
	killedCode = 128 + 9
)

var errContainerEnded = errors.New("the container has ended")

// vigil ends a session some seconds after its container, when it says nothing more, until ctx does. The engine should; but of a
// command that begins while its container ends it may never tell the end.
func (s *Server) vigil(ctx context.Context, ref *agentv1.PodRef, id string, in *input, end context.CancelCauseFunc) {
	tick := time.NewTicker(vigilEvery)
	defer tick.Stop()
	quiet, before := 0, int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		said := in.said.Load()
		if s.runs(ref, id) || said != before || said%2 == 1 { // odd: it is being said
			quiet, before = 0, said
			continue
		}
		if quiet++; quiet == vigilQuiet {
			end(errContainerEnded)
			return
		}
	}
}

// runs tells whether one certain container of a pod still runs.
func (s *Server) runs(ref *agentv1.PodRef, id string) bool {
	pod, name, err := s.find(ref)
	return err == nil && slices.ContainsFunc(pod.Containers[name], func(c runtime.Container) bool {
		return c.ID == id && c.State == runtime.Running
	})
}
