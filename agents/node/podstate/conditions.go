package podstate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/node/runtime"
)

// DeadlineExceeded is the reason of a pod that has had its activeDeadlineSeconds.
const DeadlineExceeded = "DeadlineExceeded"

func (s *describer) setPhase(st *corev1.PodStatus) {
	if previous := s.obs.Previous.Phase; terminalPhase(previous) {
		st.Phase = previous
		return
	}
	if deadline, limited := activeDeadline(s.pod, s.obs); limited && !s.now.Before(deadline) && s.pod.DeletionTimestamp == nil {
		st.Phase, st.Reason = corev1.PodFailed, DeadlineExceeded
		st.Message = "Pod was active on the node longer than the specified deadline"
		return
	}
	if s.ended(st) {
		return
	}
	switch {
	case s.initFailed():
		st.Phase = corev1.PodFailed
	case s.over && s.pod.DeletionTimestamp != nil && s.waitingFirst():
		st.Phase = corev1.PodFailed
	case !s.initDone || s.waitingFirst():
		st.Phase = corev1.PodPending
	case !Finished(s.pod, s.obs) && (s.pod.DeletionTimestamp == nil || s.obs.anyRunning()):
		st.Phase = corev1.PodRunning
	case s.allSucceeded():
		st.Phase = corev1.PodSucceeded
	default:
		st.Phase = corev1.PodFailed
	}
	if s.pod.DeletionTimestamp != nil && s.obs.anyRunning() && terminalPhase(st.Phase) {
		st.Phase = corev1.PodRunning
	}
}

func (s *describer) initFailed() bool {
	for i := range s.pod.Spec.InitContainers {
		c := &s.pod.Spec.InitContainers[i]
		if isSidecar(c) || !ended(s.pod, s.obs, c, true) {
			continue
		}
		if s.obs.Latest(c.Name).ExitCode != 0 {
			return true
		}
	}
	return false
}

// waitingFirst tells whether a main container has never run.
func (s *describer) waitingFirst() bool {
	for i := range s.pod.Spec.Containers {
		name := s.pod.Spec.Containers[i].Name
		latest := s.obs.Latest(name)
		previous := find(s.obs.Previous.ContainerStatuses, name)
		if (latest == nil || latest.State == runtime.Created) && (previous == nil || !everRan(previous)) {
			return true
		}
	}
	return false
}

func (s *describer) allSucceeded() bool {
	for i := range s.pod.Spec.Containers {
		if latest := s.obs.Latest(s.pod.Spec.Containers[i].Name); latest == nil || latest.ExitCode != 0 {
			return false
		}
	}
	return true
}

// conditions returns the agent's conditions, with those of the control plane kept as they are.
func (s *describer) conditions(st *corev1.PodStatus) []corev1.PodCondition {
	done := terminalPhase(st.Phase)
	ready := s.containersReady(st)
	if done {
		ready = condition{status: false, reason: "PodCompleted"}
		if st.Phase == corev1.PodFailed {
			ready.reason = "PodFailed"
		}
	}
	podReady := ready
	if podReady.status {
		podReady = s.gates()
	}
	// In the order in which a kubelet has them.
	out := make([]corev1.PodCondition, 0, 5) // mostly those that every pod has
	disrupted := s.disruption()
	for _, c := range s.pod.Status.Conditions {
		if !slices.Contains(Owned, c.Type) && (disrupted == nil || c.Type != corev1.DisruptionTarget) {
			out = append(out, c)
		}
	}
	out = append(out, s.resizing()...)
	if disrupted != nil {
		out = append(out, *disrupted)
	}
	out = append(out,
		s.condition(corev1.PodReadyToStartContainers, s.sandboxReady(done)),
		s.condition(corev1.PodInitialized, s.initializedCondition(st)),
		s.condition(corev1.PodReady, podReady),
		s.condition(corev1.ContainersReady, ready),
		s.condition(corev1.PodScheduled, condition{status: true}),
	)
	if restartsTogether(s.pod) {
		out = append(out, s.condition(corev1.AllContainersRestarting, s.restartingAll(st)))
	}
	return out
}

func (s *describer) sandboxReady(done bool) condition {
	const notReady = "PodSandboxNotReady"
	switch sandbox := s.obs.Sandbox(); {
	case done:
		return condition{false, notReady, "pod sandbox is not ready"}
	case sandbox == nil:
		return condition{false, notReady, "no pod sandbox exists"}
	case sandbox.State != runtime.Running || !s.obs.Wired && !s.pod.Spec.HostNetwork:
		return condition{false, notReady, "pod sandbox is not ready"}
	}
	return condition{status: true}
}

// initializedCondition: a pod that has been initialized stays so, also while its sidecars restart and when they have ended.
func (s *describer) initializedCondition(st *corev1.PodStatus) condition {
	if st.Phase == corev1.PodSucceeded {
		return condition{status: true, reason: "PodCompleted"}
	}
	for i := range st.ContainerStatuses {
		if state := &st.ContainerStatuses[i].State; state.Running != nil || state.Terminated != nil {
			return condition{status: true}
		}
	}
	if s.initDone {
		return condition{status: true}
	}
	return condition{false, "ContainersNotInitialized", names("containers with incomplete status", s.incomplete())}
}

// Owned are the conditions that the node agent sets.
var Owned = []corev1.PodConditionType{
	corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady,
	corev1.PodResizePending, corev1.PodResizeInProgress, corev1.PodScheduled, corev1.AllContainersRestarting,
}

type condition struct {
	status          bool
	reason, message string
}

// condition keeps the time of the last change while the status stays the same.
func (s *describer) condition(kind corev1.PodConditionType, c condition) corev1.PodCondition {
	out := corev1.PodCondition{
		Type: kind, Status: corev1.ConditionFalse, Reason: c.reason, Message: c.message,
		ObservedGeneration: s.pod.Generation, LastTransitionTime: metav1.NewTime(s.now),
	}
	if c.status {
		out.Status = corev1.ConditionTrue
	}
	for _, old := range s.obs.Previous.Conditions {
		if old.Type == kind && old.Status == out.Status {
			out.LastTransitionTime = old.LastTransitionTime
		}
	}
	return out
}

func (s *describer) containersReady(st *corev1.PodStatus) condition {
	var unready []string
	for i := range st.InitContainerStatuses {
		if isSidecar(&s.pod.Spec.InitContainers[i]) && !st.InitContainerStatuses[i].Ready {
			unready = append(unready, st.InitContainerStatuses[i].Name)
		}
	}
	for i := range s.pod.Spec.Containers {
		if c := find(st.ContainerStatuses, s.pod.Spec.Containers[i].Name); !c.Ready {
			unready = append(unready, c.Name)
		}
	}
	if len(unready) > 0 {
		return condition{false, "ContainersNotReady", names("containers with unready status", unready)}
	}
	return condition{status: true}
}

func (s *describer) incomplete() []string {
	var out []string
	for i := range s.pod.Spec.InitContainers {
		c := &s.pod.Spec.InitContainers[i]
		latest := s.obs.Latest(c.Name)
		if isSidecar(c) && !s.obs.started(c) || !isSidecar(c) && (latest == nil || latest.State != runtime.Exited || latest.ExitCode != 0) {
			out = append(out, c.Name)
		}
	}
	return out
}

// gates is the pod's readiness when its containers are ready: its readiness gates decide.
func (s *describer) gates() condition {
	var missing []string
	for _, gate := range s.pod.Spec.ReadinessGates {
		i := slices.IndexFunc(s.pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == gate.ConditionType })
		switch {
		case i < 0:
			missing = append(missing, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case s.pod.Status.Conditions[i].Status != corev1.ConditionTrue:
			missing = append(missing, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, s.pod.Status.Conditions[i].Status))
		}
	}
	if len(missing) > 0 {
		return condition{false, "ReadinessGatesNotReady", strings.Join(missing, ", ")}
	}
	return condition{status: true}
}

func names(what string, list []string) string {
	return fmt.Sprintf("%s: [%s]", what, strings.Join(list, " "))
}
