package node

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// told remembers how the node's conditions were last, so that events tell of changes.
type told struct {
	mu   sync.Mutex
	last map[corev1.NodeConditionType]corev1.ConditionStatus
}

// changes are the reasons of events about conditions: when they are true, and when they are not.
var changes = map[corev1.NodeConditionType][2]string{
	corev1.NodeReady:          {"NodeReady", "NodeNotReady"},
	corev1.NodeMemoryPressure: {"NodeHasInsufficientMemory", "NodeHasSufficientMemory"},
	corev1.NodeDiskPressure:   {"NodeHasDiskPressure", "NodeHasNoDiskPressure"},
	corev1.NodePIDPressure:    {"NodeHasInsufficientPID", "NodeHasSufficientPID"},
}

// setCondition sets a condition of the node and tells when it has changed. What is as it should be at the start is not news,
// but that the node is ready.
func (a *Agent) setCondition(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) {
	a.node.SetCondition(kind, status, reason, message)
	if a.told.turned(kind, status) {
		what := changes[kind][1]
		if status == corev1.ConditionTrue {
			what = changes[kind][0]
		}
		a.cfg.Events.EventOn(a.self(), corev1.EventTypeNormal, what, "Node %s status is now: %s", a.cfg.NodeName, what)
	}
}

// turned notes a condition and says whether that is news.
func (t *told) turned(kind corev1.NodeConditionType, status corev1.ConditionStatus) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil {
		t.last = map[corev1.NodeConditionType]corev1.ConditionStatus{}
	}
	before, known := t.last[kind]
	t.last[kind] = status
	if !known {
		return status == corev1.ConditionTrue
	}
	return before != status
}
