package podstate

import (
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

// lostCode is the exit code that is assumed of containers of which nobody knows how they ended.
const lostCode = 137

// unknown is the end of a container that nobody has seen.
func unknown(message string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		Reason: "ContainerStatusUnknown", Message: message, ExitCode: lostCode,
	}}
}

// lastEnd is how a container ended that a status tells of, seen from its next attempt.
func lastEnd(st *corev1.ContainerStatus) corev1.ContainerState {
	switch {
	case st.State.Terminated != nil:
		return st.State
	case st.State.Running != nil:
		return unknown("The container could not be located when the pod was deleted.  The container used to be Running")
	}
	return st.LastTerminationState
}

// isOver tells whether a pod has ended without any hope: nothing is started any more.
func isOver(pod *corev1.Pod, obs *Observed, past bool) bool {
	if obs.anyRunning() {
		return false
	}
	if pod.DeletionTimestamp == nil {
		return past || obs.Ending != nil || terminalPhase(obs.Previous.Phase)
	}
	for _, op := range obs.Busy {
		if op.Verb == Start || op.Verb == MakeSandbox {
			return false
		}
	}
	return len(obs.Sandboxes) == 0
}

// neverSeen describes a container of a pod that is over, of which nothing exists. One that waited for an init
// container goes on waiting: it has not failed.
func (s *describer) neverSeen(previous *corev1.ContainerStatus, st *corev1.ContainerStatus, init bool) bool {
	ran := previous != nil && everRan(previous)
	if !s.over || init && !ran || !init && !s.initDone && !ran {
		return false
	}
	st.State = unknown("The container could not be located when the pod was terminated")
	if previous != nil && previous.State.Running != nil {
		st.State, st.LastTerminationState = lastEnd(previous), previous.LastTerminationState
	}
	return true
}

// user is what a container's first process was started as: it is seen once, and remembered.
func (s *describer) user(c *runtime.Container, previous *corev1.ContainerStatus) *corev1.ContainerUser {
	if user, ok := s.obs.Users[c.ID]; ok {
		return &corev1.ContainerUser{Linux: user.DeepCopy()}
	}
	if previous != nil && previous.ContainerID == "docker://"+c.ID {
		return previous.User
	}
	return nil
}

func volumeMounts(c *corev1.Container, recursive bool) []corev1.VolumeMountStatus {
	var out []corev1.VolumeMountStatus
	for _, m := range c.VolumeMounts {
		st := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := corev1.RecursiveReadOnlyDisabled
			if asked := m.RecursiveReadOnly; recursive && asked != nil && *asked != mode {
				mode = corev1.RecursiveReadOnlyEnabled
			}
			st.RecursiveReadOnly = &mode
		}
		out = append(out, st)
	}
	return out
}
