package podstate

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

// Crash-loop back-off, as on a kubelet: the first restart is immediate, then the delay doubles up to a bound. A
// container that ran long enough starts afresh.
const (
	firstDelay = 10 * time.Second
	maxDelay   = 5 * time.Minute
	forgetting = 10 * time.Minute
)

// delay is how long to wait after the latest attempt of c has ended before the next one. What another image did says nothing.
func delay(c *corev1.Container, latest *runtime.Container) time.Duration {
	if changed(c, latest) {
		return 0
	}
	return backOff(latest)
}

// backOff is how long to wait after c has ended before it is started again as it was.
func backOff(c *runtime.Container) time.Duration {
	if !c.StartedAt.IsZero() && c.FinishedAt.Sub(c.StartedAt) >= forgetting {
		return 0
	}
	return c.NextDelay
}

// following is the delay that comes after d.
func following(d time.Duration) time.Duration {
	return min(max(2*d, firstDelay), maxDelay)
}

// Hash is the digest of what cannot be changed in a running container: its image.
func Hash(c *corev1.Container) string {
	sum := sha256.Sum256([]byte(c.Name + "\x00" + c.Image))
	return hex.EncodeToString(sum[:4])
}

// changed tells whether a container was made from another definition than the pod's is now.
func changed(c *corev1.Container, made *runtime.Container) bool {
	return made.Hash != "" && made.Hash != Hash(c)
}

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// restarts tells whether a container that has ended with code is to be started again.
func restarts(pod *corev1.Pod, c *corev1.Container, init bool, code int32) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	policy := pod.Spec.RestartPolicy
	if c.RestartPolicy != nil {
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	switch {
	case init && !isSidecar(c) && code == 0:
		return false // it has done its work
	case ruleFor(c, code) != nil:
		return true
	case policy == corev1.RestartPolicyNever:
		return false
	case policy == corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return true
}

// nextAttempt continues the count of attempts, also when all containers have been removed from the engine.
func nextAttempt(o *Observed, name string) int {
	if latest := o.Latest(name); latest != nil {
		return latest.Attempt + 1
	}
	for _, list := range [][]corev1.ContainerStatus{o.Previous.ContainerStatuses, o.Previous.InitContainerStatuses, o.Previous.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name && everRan(&list[i]) {
				return int(list[i].RestartCount) + 1
			}
		}
	}
	return 0
}

func everRan(s *corev1.ContainerStatus) bool {
	return s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil
}
