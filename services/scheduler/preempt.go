package scheduler

import (
	"context"
	"encoding/json"
	"fmt"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/conditions"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/preemption"
	"karve.dev/karve/services/scheduler/queue"
	"karve.dev/karve/services/scheduler/snapshot"
)

// nomination is a node that is being cleared for a pod. Nobody who is less important gets the room meanwhile.
type nomination struct {
	pod  *snapshot.Pod
	node string
}

// decide finds a node for a pod, the one that was cleared for it first.
func (s *Scheduler) decide(pod *snapshot.Pod) framework.Decision {
	defer s.reckonWithNominated(pod)()
	if own, ok := s.nominated[pod.Object.UID]; ok {
		n := s.snap.Node(own.node)
		if n != nil && framework.Refuse(s.plugins, s.snap, pod) == nil && framework.Fits(s.plugins, s.snap, pod, n) == nil {
			return framework.Decision{Node: n, Next: s.start}
		}
	}
	return framework.Decide(s.plugins, s.snap, pod, s.start)
}

// reckonWithNominated gives the pods that wait for their nodes to be cleared a place there, until undo is called.
func (s *Scheduler) reckonWithNominated(pod *snapshot.Pod) (undo func()) {
	var placed []types.UID
	for uid, n := range s.nominated {
		if uid == pod.Object.UID || n.pod.Priority() < pod.Priority() || s.snap.Node(n.node) == nil || s.snap.Placed(uid) != "" {
			continue
		}
		s.snap.Place(n.pod, n.node)
		placed = append(placed, uid)
	}
	return func() {
		for _, uid := range placed {
			s.snap.Remove(uid)
		}
	}
}

// takeNomination takes over what an earlier scheduler has cleared a node for. Afterwards this one knows better than the pod's
// status, which is written late.
func (s *Scheduler) takeNomination(key informer.Key, pod *corev1.Pod) {
	if pod.Status.NominatedNodeName != "" && s.queue.Get(key) == nil {
		s.nominated[pod.UID] = nomination{snapshot.NewPod(pod), pod.Status.NominatedNodeName}
	}
}

// preempt looks for pods that have to go for one that fits nowhere, and returns those that have not been told so yet. When
// there are none to be found it returns what is to be said of it.
func (s *Scheduler) preempt(pod *snapshot.Pod, d framework.Decision) (victims []*corev1.Pod, why string) {
	uid := pod.Object.UID
	if own, ok := s.nominated[uid]; ok && s.clearing(own.node, pod) {
		return nil, "preemption: not eligible due to a terminating pod on the nominated node."
	}
	defer s.reckonWithNominated(pod)()
	c, why := preemption.Solve(preemption.Problem{Plugins: s.plugins, Snapshot: s.snap, Pod: pod, Decision: d, Budgets: s.budgets.List("", nil)})
	if c == nil {
		delete(s.nominated, uid)
		return nil, why
	}
	for other, n := range s.nominated {
		if n.node == c.Node.Name && n.pod.Priority() < pod.Priority() {
			delete(s.nominated, other) // its room goes to this one; its own next attempt finds another
		}
	}
	s.nominated[uid] = nomination{pod, c.Node.Name}
	for _, v := range c.Victims {
		if v.Object.DeletionTimestamp == nil {
			victims = append(victims, v.Object)
			s.leaving[v.Object.UID] = true
			s.snap.Place(snapshot.NewPod(s.foreseen(v.Object)), c.Node.Name)
		}
	}
	return victims, ""
}

// foreseen is a pod as it will be in a moment, when it has been told to go: whoever comes next must not tell it again.
func (s *Scheduler) foreseen(pod *corev1.Pod) *corev1.Pod {
	if pod.DeletionTimestamp != nil {
		delete(s.leaving, pod.UID)
	}
	if !s.leaving[pod.UID] {
		return pod
	}
	pod = pod.DeepCopy()
	now := metav1.Now()
	pod.DeletionTimestamp = &now
	if !preempted(pod) {
		pod.Status.Conditions = append(pod.Status.Conditions, s.disrupted())
	}
	return pod
}

// clearing tells whether pods that were preempted on a node have not gone yet.
func (s *Scheduler) clearing(node string, pod *snapshot.Pod) bool {
	n := s.snap.Node(node)
	if n == nil {
		return false
	}
	for _, p := range n.Pods {
		if p.Object.DeletionTimestamp != nil && preempted(p.Object) && p.Priority() < pod.Priority() {
			return true
		}
	}
	return false
}

func preempted(pod *corev1.Pod) bool {
	c := conditions.Pod(pod, corev1.DisruptionTarget)
	return c != nil && c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonPreemptionByScheduler
}

// disrupted is what a pod's status says when it is told to go.
func (s *Scheduler) disrupted() corev1.PodCondition {
	return corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
		Message: s.cfg.Name + ": preempting to accommodate a higher priority pod", LastTransitionTime: metav1.Now(),
	}
}

// clear deletes the victims of a pod on a node, with their grace, and says on them what for. The item is the loop's by now.
func (s *Scheduler) clear(ctx context.Context, item *queue.Item, pod *corev1.Pod, node string, victims []*corev1.Pod) {
	for i, v := range victims {
		if err := s.evict(ctx, v); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("preempting failed, will retry", zap.String("pod", item.Key.String()), zap.Error(err))
			s.inbox.spared(victims[i:])
			s.inbox.bindFailed(item)
			return
		}
		s.cfg.Events.Event(v, corev1.EventTypeNormal, "Preempted", "Preempted by pod %s on node %s", pod.UID, node)
	}
}

func (s *Scheduler) evict(ctx context.Context, victim *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": victim.UID},
		"status":   map[string]any{"conditions": []corev1.PodCondition{s.disrupted()}},
	})
	if err != nil {
		return fmt.Errorf("encode the condition of pod %s/%s: %w", victim.Namespace, victim.Name, err)
	}
	target := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: victim.Namespace, Name: victim.Name}}
	if err = s.cfg.Client.Patch(ctx, target, types.StrategicMergePatchType, patch, "status"); err == nil {
		err = s.cfg.Client.Delete(ctx, target, client.DeleteOptions{UID: victim.UID})
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // it is gone already
		return fmt.Errorf("preempt pod %s/%s: %w", victim.Namespace, victim.Name, err)
	}
	return nil
}
