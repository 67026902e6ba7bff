package nodehealth

import (
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/conditions"
)

// Reasons and messages that Kubernetes gives a node that has gone silent.
const (
	reasonUnknown      = "NodeStatusUnknown"
	reasonNeverUpdated = "NodeStatusNeverUpdated"
	messageStopped     = "Kubelet stopped posting node status."
	messageNever       = "Kubelet never posted node status."
)

// plan is what should change about a node.
type plan struct {
	// conditions replaces status.conditions when it is not nil.
	conditions []corev1.NodeCondition
	// taints replaces spec.taints when retaint is set.
	taints  []corev1.Taint
	retaint bool
	// silent says that the node was not heard of within the grace period.
	silent bool
}

// conditionTypes are those that turn Unknown when a node goes silent.
var conditionTypes = []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure}

// planNode decides from a node, when it was last heard of and the time, what to change.
func planNode(node *corev1.Node, last, now time.Time, grace time.Duration) plan {
	var p plan
	p.silent = now.Sub(last) >= grace
	view := node
	if p.silent {
		if conditions := silence(node.Status.Conditions, now); conditions != nil {
			p.conditions = conditions
			view = &corev1.Node{ObjectMeta: node.ObjectMeta, Spec: node.Spec}
			view.Status.Conditions = conditions
		}
	}
	p.taints, p.retaint = retaint(view, now)
	return p
}

// silence returns the conditions with the kubelet's ones set to Unknown, or nil when they are already.
func silence(conditions []corev1.NodeCondition, now time.Time) []corev1.NodeCondition {
	out := slices.Clone(conditions)
	changed := false
	for _, t := range conditionTypes {
		i := slices.IndexFunc(out, func(c corev1.NodeCondition) bool { return c.Type == t })
		if i < 0 {
			out = append(out, corev1.NodeCondition{Type: t, Status: corev1.ConditionUnknown, Reason: reasonNeverUpdated, Message: messageNever, LastTransitionTime: metav1.NewTime(now)})
			changed = true
			continue
		}
		if out[i].Status != corev1.ConditionUnknown {
			out[i].Status, out[i].Reason, out[i].Message = corev1.ConditionUnknown, reasonUnknown, messageStopped
			out[i].LastTransitionTime = metav1.NewTime(now)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return out
}

// heard returns the conditions with the time of the node's last beat, or nil when they say that recently enough.
func heard(conditions []corev1.NodeCondition, last time.Time, every time.Duration) []corev1.NodeCondition {
	out, due := slices.Clone(conditions), false
	for i := range out {
		c := &out[i]
		if c.Status == corev1.ConditionUnknown || !slices.Contains(conditionTypes, c.Type) {
			continue
		}
		due = due || last.Sub(c.LastHeartbeatTime.Time) >= every
		if c.LastHeartbeatTime.Time.Before(last) {
			c.LastHeartbeatTime = metav1.NewTime(last)
		}
	}
	if !due {
		return nil
	}
	return out
}

// taintRule says which taint stands for which status of a condition (KEP-382).
type taintRule struct {
	condition corev1.NodeConditionType
	status    corev1.ConditionStatus
	key       string
	effects   []corev1.TaintEffect
}

var (
	scheduleOnly       = []corev1.TaintEffect{corev1.TaintEffectNoSchedule}
	scheduleAndExecute = []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute}
)

var taintRules = []taintRule{
	{corev1.NodeReady, corev1.ConditionFalse, corev1.TaintNodeNotReady, scheduleAndExecute},
	{corev1.NodeReady, corev1.ConditionUnknown, corev1.TaintNodeUnreachable, scheduleAndExecute},
	{corev1.NodeMemoryPressure, corev1.ConditionTrue, corev1.TaintNodeMemoryPressure, scheduleOnly},
	{corev1.NodeDiskPressure, corev1.ConditionTrue, corev1.TaintNodeDiskPressure, scheduleOnly},
	{corev1.NodePIDPressure, corev1.ConditionTrue, corev1.TaintNodePIDPressure, scheduleOnly},
	{corev1.NodeNetworkUnavailable, corev1.ConditionTrue, corev1.TaintNodeNetworkUnavailable, scheduleOnly},
}

// retaint returns the taints that a node should have and whether they differ from those it has. Taints that are not
// ours stay as they are, and where they are.
func retaint(node *corev1.Node, now time.Time) (taints []corev1.Taint, changed bool) {
	want := map[string]bool{}
	for _, r := range taintRules {
		if c := conditions.Node(node, r.condition); c != nil && c.Status == r.status {
			for _, e := range r.effects {
				want[r.key+string(e)] = true
			}
		}
	}
	if node.Spec.Unschedulable {
		want[corev1.TaintNodeUnschedulable+string(corev1.TaintEffectNoSchedule)] = true
	}
	for _, t := range node.Spec.Taints {
		id := t.Key + string(t.Effect)
		if ours(t.Key) && !want[id] {
			changed = true
			continue
		}
		delete(want, id)
		taints = append(taints, t)
	}
	for _, t := range allOurs() {
		if want[t.Key+string(t.Effect)] {
			if t.Effect == corev1.TaintEffectNoExecute {
				t.TimeAdded = &metav1.Time{Time: now}
			}
			taints, changed = append(taints, t), true
		}
	}
	return taints, changed
}

func ours(key string) bool {
	return key == corev1.TaintNodeUnschedulable || slices.ContainsFunc(taintRules, func(r taintRule) bool { return r.key == key })
}

// allOurs lists every taint that this package may set, in the order in which they are added.
func allOurs() []corev1.Taint {
	var out []corev1.Taint
	for _, r := range taintRules {
		for _, e := range r.effects {
			out = append(out, corev1.Taint{Key: r.key, Effect: e})
		}
	}
	return append(out, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
}

// evictAt tells when a pod must leave a node with these taints: never (ok false), or at a time that may have passed.
func evictAt(pod *corev1.Pod, taints []corev1.Taint, now time.Time) (at time.Time, ok bool) {
	for _, t := range taints {
		if t.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		since := now
		if t.TimeAdded != nil {
			since = t.TimeAdded.Time
		}
		stay, forever := tolerated(pod.Spec.Tolerations, t)
		if forever {
			continue
		}
		if due := since.Add(stay); !ok || due.Before(at) {
			at, ok = due, true
		}
	}
	return at, ok
}

// tolerated returns for how long tolerations bear a taint. The shortest matching toleration counts, as in Kubernetes.
func tolerated(tolerations []corev1.Toleration, t corev1.Taint) (stay time.Duration, forever bool) {
	found := false
	for i := range tolerations {
		tol := &tolerations[i]
		if !tol.ToleratesTaint(logr.Discard(), &t, true) {
			continue
		}
		if tol.TolerationSeconds == nil {
			if !found {
				forever = true
			}
			continue
		}
		d := max(0, time.Duration(*tol.TolerationSeconds)*time.Second)
		if !found || d < stay {
			stay = d
		}
		found, forever = true, false
	}
	return stay, forever
}
