package node

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/admit"
	"karve.dev/karve/agents/node/podstate"
	"karve.dev/karve/agents/node/shutdown"
)

// What pods are told that end with the machine, and those that come too late.
const (
	endedByShutdown   = "Pod was terminated in response to imminent node shutdown."
	refusedByShutdown = "Pod was rejected as the node is shutting down."
	// tellWait bounds the wait until the API has heard how the pods have ended.
	tellWait = 2 * time.Second
)

var errShutdown = errors.New("node is shutting down")

// Shutdown ends the node's pods, in the order of their priority, because the machine goes down: limit is what the machine
// grants, zero for as long as the configuration does. The node is not ready any more and takes no pods. Run goes on.
func (a *Agent) Shutdown(ctx context.Context, limit time.Duration) error {
	a.setDown(errShutdown)
	a.cfg.Events.EventOn(a.self(), corev1.EventTypeNormal, "NodeShutdown", "Shutdown manager detected shutdown event")
	a.pool.Refuse(admit.Refusal{Reason: "NodeShutdown", Message: refusedByShutdown})
	var pods []*corev1.Pod
	for _, p := range a.pool.All() {
		if p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded {
			pods = append(pods, p.Spec)
		}
	}
	a.log.Info("the machine goes down: pods end", zap.Int("pods", len(pods)))
	for _, step := range shutdown.Plan(pods, a.cfg.Shutdown.WithDefaults().Within(limit)) {
		a.endTogether(ctx, step)
	}
	ctx, cancel := context.WithTimeout(ctx, tellWait)
	defer cancel()
	return a.pods.Flush(ctx)
}

// Stay takes Shutdown back as far as that can be: the machine does not go down, and the node takes pods again.
func (a *Agent) Stay() {
	a.pool.Accept()
	a.setDown(nil)
}

// endTogether ends some pods and waits for all of them, within the step's limit.
func (a *Agent) endTogether(ctx context.Context, step shutdown.Step) {
	ctx, cancel := context.WithTimeout(ctx, step.Limit+time.Second) // containers are killed at the limit
	defer cancel()
	var ending []<-chan struct{}
	for _, end := range step.Ends {
		if done, ok := a.pool.End(end.Pod.UID, podstate.Ending{Reason: "Terminated", Message: endedByShutdown, Grace: end.Grace}); ok {
			ending = append(ending, done)
		}
	}
	for _, done := range ending {
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

// setDown tells that the machine goes down, or, with nil, that it does not after all.
func (a *Agent) setDown(err error) {
	a.ready.mu.Lock()
	a.ready.down = err
	a.ready.mu.Unlock()
	a.setReady()
}
