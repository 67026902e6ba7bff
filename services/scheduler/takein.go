package scheduler

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"karve.dev/karve/internal/informer"
	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/queue"
	"karve.dev/karve/services/scheduler/snapshot"
)

// takeIn brings the snapshot and the queue up to date with what the informers have told since.
func (s *Scheduler) takeIn(now time.Time) {
	in := s.inbox.take()
	var changes framework.Change
	if in.relabelled {
		s.snap.ForgetCounts()
		changes |= framework.PodPlaced | framework.PodGone
	}
	for name, node := range in.nodes {
		changes |= s.takeNode(name, node)
	}
	for _, pod := range in.spared {
		delete(s.leaving, pod.UID)
		if current, ok := s.pods.Get(pod.Namespace, pod.Name); ok && current.UID == pod.UID {
			changes |= s.takePod(informer.KeyOf(current), podChange{pod: current}, now)
		}
	}
	for key, p := range in.pods {
		changes |= s.takePod(key, p, now)
	}
	for _, item := range in.failed {
		changes |= s.takeBack(item, now)
	}
	for _, r := range in.written {
		r.written = true
	}
	if in.storage {
		changes |= framework.StorageChanged
	}
	if len(in.claims) > 0 {
		s.queue.WakeUsers(in.claims, now)
	}
	if changes != 0 {
		s.queue.Wake(changes, now)
	}
}

// takeBack undoes the placement of a pod whose binding failed, unless the pod turns out to be bound all the same.
func (s *Scheduler) takeBack(item *queue.Item, now time.Time) framework.Change {
	pod, ok := s.pods.Get(item.Key.Namespace, item.Key.Name)
	same := ok && pod.UID == item.Pod.Object.UID
	if same && pod.Spec.NodeName != "" {
		return 0 // takePod has placed it
	}
	s.release(item.Pod.Object.UID)
	s.snap.Remove(item.Pod.Object.UID)
	if same && s.mine(pod) {
		s.queue.Retry(item, now)
	}
	return framework.PodGone
}

func (s *Scheduler) takeNode(name string, node *corev1.Node) framework.Change {
	if node == nil {
		s.snap.RemoveNode(name)
		return 0
	}
	known := s.snap.Node(name)
	change := framework.NodeAdded
	if known != nil {
		change = nodeChange(known.Object, node)
	}
	s.snap.SetNode(node)
	return change
}

// takePod files a pod as placed, waiting or gone.
func (s *Scheduler) takePod(key informer.Key, p podChange, now time.Time) framework.Change {
	var change framework.Change
	for _, uid := range p.gone {
		s.release(uid)
		delete(s.nominated, uid)
		delete(s.leaving, uid)
		if s.snap.Placed(uid) != "" {
			s.snap.Remove(uid)
			change |= framework.PodGone
		}
	}
	pod := p.pod
	switch {
	case pod == nil || finished(pod):
		s.queue.Remove(key)
		if pod != nil {
			delete(s.nominated, pod.UID)
			delete(s.leaving, pod.UID)
		}
		if pod != nil && s.snap.Placed(pod.UID) != "" {
			s.snap.Remove(pod.UID)
			change |= framework.PodGone
		}
	case pod.Spec.NodeName != "":
		s.queue.Remove(key)
		s.release(pod.UID)
		delete(s.nominated, pod.UID)
		change |= framework.PodPlaced
		frees := s.snap.Place(snapshot.NewPod(s.foreseen(pod)), pod.Spec.NodeName)
		if frees || pod.DeletionTimestamp != nil {
			change |= framework.PodGone // there is more room, or spread constraints no longer count it
		}
	case s.mine(pod) && s.snap.Placed(pod.UID) == "":
		s.takeNomination(key, pod)
		s.enqueue(key, pod, now)
	case !s.mine(pod):
		s.queue.Remove(key)
		delete(s.nominated, pod.UID)
	}
	return change
}

// enqueue gives a new or changed pod an attempt; a change of its status alone, such as our own condition, is none.
func (s *Scheduler) enqueue(key informer.Key, pod *corev1.Pod, now time.Time) {
	if it := s.queue.Get(key); it != nil && it.Pod.Object.UID == pod.UID && sameDemands(it.Pod.Object, pod) {
		s.queue.Refresh(key, snapshot.NewPod(pod))
		return
	}
	s.queue.Set(key, snapshot.NewPod(pod), now)
}

func sameDemands(a, b *corev1.Pod) bool {
	return a.Generation == b.Generation && labels.Equals(a.Labels, b.Labels) && len(a.Spec.SchedulingGates) == len(b.Spec.SchedulingGates)
}

// mine says that a pod waits for this scheduler.
func (s *Scheduler) mine(pod *corev1.Pod) bool {
	return pod.Spec.SchedulerName == s.cfg.Name && pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0
}

func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func nodeChange(old, node *corev1.Node) framework.Change {
	var c framework.Change
	if !labels.Equals(old.Labels, node.Labels) {
		c |= framework.NodeLabels
	}
	if old.Spec.Unschedulable != node.Spec.Unschedulable || !sameTaints(old.Spec.Taints, node.Spec.Taints) {
		c |= framework.NodeTaints
	}
	if !sameResources(old.Status.Allocatable, node.Status.Allocatable) {
		c |= framework.NodeAllocatable
	}
	return c
}

func sameTaints(a, b []corev1.Taint) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].MatchTaint(&b[i]) || a[i].Value != b[i].Value {
			return false
		}
	}
	return true
}

func sameResources(a, b corev1.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for name, q := range a {
		if other, ok := b[name]; !ok || q.Cmp(other) != 0 {
			return false
		}
	}
	return true
}
