package podstate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/node/runtime"
)

// Reasons that waiting containers show, besides those of a Trouble.
const (
	containerCreating  = "ContainerCreating"
	podInitializing    = "PodInitializing"
	crashLoopBackOff   = "CrashLoopBackOff"
	runContainerError  = "RunContainerError"
	postStartHookError = "PostStartHookError"
)

// showFault is how long why a container could not be started is shown, before CrashLoopBackOff.
const showFault = 10 * time.Second

// Status is how a pod looks from outside. Times that have not changed are taken over from the previous status.
func Status(pod *corev1.Pod, obs *Observed, now time.Time) corev1.PodStatus {
	s := &describer{pod: pod, obs: obs, now: now}
	if obs.Ending != nil && obs.Ending.Rejected {
		return s.rejected()
	}
	st := corev1.PodStatus{
		ObservedGeneration: pod.Generation,
		StartTime:          obs.Previous.StartTime,
		QOSClass:           QOSClass(pod),
		NominatedNodeName:  pod.Status.NominatedNodeName,
		Reason:             obs.Previous.Reason,
		Message:            obs.Previous.Message,
	}
	if st.StartTime == nil {
		st.StartTime = &metav1.Time{Time: now}
	}
	s.initDone = s.initialized()
	deadline, limited := activeDeadline(pod, obs)
	s.over = isOver(pod, obs, limited && !now.Before(deadline))
	st.InitContainerStatuses = s.list(pod.Spec.InitContainers, obs.Previous.InitContainerStatuses, true)
	st.ContainerStatuses = s.list(pod.Spec.Containers, obs.Previous.ContainerStatuses, false)
	st.EphemeralContainerStatuses = s.ephemeral()
	sortByName(st.ContainerStatuses)
	sortByName(st.EphemeralContainerStatuses)
	s.podResources(&st)
	s.addresses(&st)
	s.setPhase(&st)
	st.Conditions = s.conditions(&st)
	return st
}

// OnItsWay tells whether a status says no more than that the pod is being made, and that nothing is wrong.
func OnItsWay(st *corev1.PodStatus) bool {
	if st.Phase != corev1.PodPending {
		return false
	}
	for _, list := range [][]corev1.ContainerStatus{st.InitContainerStatuses, st.ContainerStatuses} {
		for i := range list {
			waiting := list[i].State.Waiting
			if waiting == nil || waiting.Reason != containerCreating && waiting.Reason != podInitializing || waiting.Message != "" {
				return false
			}
		}
	}
	return true
}

type describer struct {
	pod      *corev1.Pod
	obs      *Observed
	now      time.Time
	initDone bool
	over     bool
}

func (s *describer) addresses(st *corev1.PodStatus) {
	for _, ip := range s.obs.HostIPs {
		st.HostIPs = append(st.HostIPs, corev1.HostIP{IP: ip})
	}
	if len(s.obs.HostIPs) > 0 {
		st.HostIP = s.obs.HostIPs[0]
	}
	ip := ""
	switch sandbox := s.obs.Sandbox(); {
	case s.pod.Spec.HostNetwork:
		ip = st.HostIP
	case sandbox != nil && s.obs.Wired:
		ip = sandbox.Address
	case terminalPhase(s.obs.Previous.Phase) || s.pod.DeletionTimestamp != nil:
		ip = s.obs.Previous.PodIP // what it was, for those who look later
	}
	if ip != "" {
		st.PodIP, st.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	}
}

// initialized tells whether all init containers are through.
func (s *describer) initialized() bool {
	p := &planner{pod: s.pod, obs: s.obs, now: s.now}
	if p.pastInit() {
		return true
	}
	for i := range s.pod.Spec.InitContainers {
		c := &s.pod.Spec.InitContainers[i]
		latest := s.obs.Latest(c.Name)
		if isSidecar(c) && !s.obs.started(c) {
			return false
		}
		if !isSidecar(c) && (latest == nil || latest.State != runtime.Exited || latest.ExitCode != 0) {
			return false
		}
	}
	return true
}

func (s *describer) list(containers []corev1.Container, previous []corev1.ContainerStatus, init bool) []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for i := range containers {
		out = append(out, s.container(&containers[i], find(previous, containers[i].Name), init))
	}
	return out
}

// sortByName brings statuses into the order in which clients find them; those of init containers stay as they run.
func sortByName(list []corev1.ContainerStatus) {
	slices.SortFunc(list, func(a, b corev1.ContainerStatus) int { return strings.Compare(a.Name, b.Name) })
}

func find(list []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

func (s *describer) ephemeral() []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for i := range s.pod.Spec.EphemeralContainers {
		c := (*corev1.Container)(&s.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		st := s.container(c, find(s.obs.Previous.EphemeralContainerStatuses, c.Name), false)
		st.Ready, st.Started = false, nil
		out = append(out, st)
	}
	return out
}

func (s *describer) container(c *corev1.Container, previous *corev1.ContainerStatus, init bool) corev1.ContainerStatus {
	st := corev1.ContainerStatus{Name: c.Name, Image: c.Image, VolumeMounts: volumeMounts(c, s.obs.RecursiveReadOnly)}
	latest := s.obs.Latest(c.Name)
	if latest == nil || latest.State == runtime.Created {
		s.absent(c, previous, &st, init)
		return st
	}
	st.RestartCount = int32(latest.Attempt)
	st.ContainerID, st.ImageID = "docker://"+latest.ID, cmp.Or(latest.ImageRef, latest.ImageID)
	st.Resources, st.User = s.obs.appliedResources(c, latest), s.user(latest, previous)
	st.AllocatedResources = st.Resources.Requests.DeepCopy()
	if s.obs.Held == nil {
		st.AllocatedResources = c.Resources.Requests.DeepCopy() // what it does not have yet has been granted
	}
	if all := s.obs.Containers[c.Name]; len(all) > 1 && all[len(all)-2].State == runtime.Exited {
		st.LastTerminationState = terminated(&all[len(all)-2])
	} else if previous != nil && int(previous.RestartCount) == latest.Attempt {
		st.LastTerminationState = previous.LastTerminationState
	} else if previous != nil && int(previous.RestartCount) < latest.Attempt {
		st.LastTerminationState = lastEnd(previous)
	}
	started := s.obs.started(c)
	st.Started = &started
	if latest.State == runtime.Running {
		st.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(latest.StartedAt)}
		st.Ready = s.obs.ready(s.pod, c)
		return st
	}
	st.State = terminated(latest)
	// An init container that has done its work counts as ready.
	st.Ready = init && !isSidecar(c) && latest.ExitCode == 0
	s.waitingToRestart(c, latest, &st, init)
	return st
}

// absent describes a container of which nothing exists: not made yet, or removed by somebody.
func (s *describer) absent(c *corev1.Container, previous *corev1.ContainerStatus, st *corev1.ContainerStatus, init bool) {
	no := false
	st.Started = &no
	if previous != nil {
		st.RestartCount, st.LastTerminationState = previous.RestartCount, previous.LastTerminationState
		st.ContainerID, st.ImageID = previous.ContainerID, previous.ImageID
		if previous.State.Terminated != nil && (s.pod.DeletionTimestamp != nil || terminalPhase(s.obs.Previous.Phase) || init && s.initDone) {
			st.State, st.Ready = previous.State, previous.Ready
			return
		}
		st.Resources, st.AllocatedResources = previous.Resources, previous.AllocatedResources
		st.LastTerminationState = lastEnd(previous)
	}
	if s.neverSeen(previous, st, init) {
		return
	}
	waiting := &corev1.ContainerStateWaiting{Reason: containerCreating}
	if len(s.pod.Spec.InitContainers) > 0 {
		waiting.Reason = podInitializing
	}
	if t, ok := s.obs.Trouble[c.Name]; ok {
		waiting.Reason, waiting.Message = t.Reason, t.Message
	}
	st.State = corev1.ContainerState{Waiting: waiting}
}

// waitingToRestart shows a container that has ended as waiting while it is about to be started again.
func (s *describer) waitingToRestart(c *corev1.Container, latest *runtime.Container, st *corev1.ContainerStatus, init bool) {
	if s.over || !restarts(s.pod, c, init, latest.ExitCode) {
		return
	}
	waiting := &corev1.ContainerStateWaiting{}
	if t, ok := s.obs.Trouble[c.Name]; ok {
		waiting.Reason, waiting.Message = t.Reason, t.Message
	} else if reason, message := s.obs.fault(latest); reason != "" && s.now.Before(latest.FinishedAt.Add(showFault)) {
		waiting.Reason, waiting.Message = reason, message
	} else if wait := delay(c, latest); s.now.Before(latest.FinishedAt.Add(wait)) {
		waiting.Reason = crashLoopBackOff
		waiting.Message = fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", wait, c.Name, s.pod.Name, s.pod.Namespace, s.pod.UID)
	} else {
		return
	}
	st.LastTerminationState = st.State
	st.State = corev1.ContainerState{Waiting: waiting}
}

// fault is why a container that has ended could not be started, if that is so.
func (o *Observed) fault(c *runtime.Container) (reason, message string) {
	switch hook, failed := o.HookErrors[c.ID]; {
	case c.Error != "" && c.StartedAt.IsZero():
		return runContainerError, c.Error
	case failed:
		return postStartHookError, hook
	}
	return "", ""
}

func terminated(c *runtime.Container) corev1.ContainerState {
	t := &corev1.ContainerStateTerminated{
		ExitCode: c.ExitCode, ContainerID: "docker://" + c.ID, Message: c.Message,
		StartedAt: metav1.NewTime(c.StartedAt), FinishedAt: metav1.NewTime(c.FinishedAt),
	}
	switch {
	case c.Error != "" && c.StartedAt.IsZero():
		t.Reason, t.Message, t.ExitCode = "StartError", c.Error, 128
		t.StartedAt = metav1.Unix(0, 0)
	case c.OOMKilled:
		t.Reason = "OOMKilled"
	case c.ExitCode == 0:
		t.Reason = "Completed"
	default:
		t.Reason = "Error"
	}
	return corev1.ContainerState{Terminated: t}
}
