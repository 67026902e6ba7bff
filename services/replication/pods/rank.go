package pods

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Surplus chooses n of the pods to delete: first those that lose the least, in Kubernetes' order. related are the active
// pods of the same application, the candidates among them: where many of those share a node, one of them goes earlier.
func Surplus(candidates []*corev1.Pod, related []*corev1.Pod, n int, now time.Time) []*corev1.Pod {
	if n >= len(candidates) {
		return candidates
	}
	perNode := map[string]int{}
	for _, p := range related {
		if p.Spec.NodeName != "" {
			perNode[p.Spec.NodeName]++
		}
	}
	ranked := make([]rank, len(candidates))
	for i, p := range candidates {
		ranked[i] = rankOf(p, perNode[p.Spec.NodeName], now)
	}
	slices.SortFunc(ranked, func(a, b rank) int {
		for _, order := range orders {
			if c := order(a, b); c != 0 {
				return c
			}
		}
		return cmp.Compare(a.pod.Name, b.pod.Name)
	})
	out := make([]*corev1.Pod, n)
	for i := range out {
		out[i] = ranked[i].pod
	}
	return out
}

// rank is what the order looks at, read once a pod.
type rank struct {
	pod      *corev1.Pod
	assigned bool
	phase    int
	ready    bool
	cost     int32
	together int
	// readyAge and age are logarithms: pods of about the same age are chosen among at random (by UID), so that not always
	// the same zone, filled last, loses them. 0 for unknown.
	readyAge, age float64
	restarts      int32
}

var phases = map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodUnknown: 1, corev1.PodRunning: 2}

func rankOf(p *corev1.Pod, together int, now time.Time) rank {
	since, ready := Ready(p)
	r := rank{
		pod: p, assigned: p.Spec.NodeName != "", phase: phases[p.Status.Phase], ready: ready, cost: deletionCost(p),
		together: together, age: logAge(p.CreationTimestamp.Time, now), restarts: restarts(p),
	}
	if ready {
		r.readyAge = logAge(since, now)
	}
	return r
}

// orders are compared one after the other; the smaller pod goes first.
var orders = []func(a, b rank) int{
	func(a, b rank) int { return falseFirst(a.assigned, b.assigned) },
	func(a, b rank) int { return cmp.Compare(a.phase, b.phase) },
	func(a, b rank) int { return falseFirst(a.ready, b.ready) },
	func(a, b rank) int { return cmp.Compare(a.cost, b.cost) },
	func(a, b rank) int { return cmp.Compare(b.together, a.together) },
	func(a, b rank) int { return cmp.Compare(a.readyAge, b.readyAge) },
	func(a, b rank) int { return cmp.Compare(b.restarts, a.restarts) },
	func(a, b rank) int { return cmp.Compare(a.age, b.age) },
	func(a, b rank) int { return cmp.Compare(a.pod.UID, b.pod.UID) },
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func deletionCost(p *corev1.Pod) int32 {
	cost, err := strconv.ParseInt(p.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return int32(cost)
}

func logAge(at, now time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return math.Floor(math.Log2(max(now.Sub(at).Seconds(), 0)*2 + 2))
}

func restarts(p *corev1.Pod) int32 {
	var most int32
	for i := range p.Status.ContainerStatuses {
		most = max(most, p.Status.ContainerStatuses[i].RestartCount)
	}
	return most
}

// SortOldestFirst orders objects by creation and then by name.
func SortOldestFirst[T metav1.Object](objs []T) {
	slices.SortFunc(objs, func(a, b T) int {
		if c := a.GetCreationTimestamp().Time.Compare(b.GetCreationTimestamp().Time); c != 0 {
			return c
		}
		return cmp.Compare(a.GetName(), b.GetName())
	})
}
