package plugin

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"

	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/snapshot"
)

// filterResources refuses nodes without room for the pod's requests, and says of each resource that lacks. A request of zero
// always fits.
func filterResources(_ *snapshot.Snapshot, pod *snapshot.Pod) framework.NodeFilter {
	want := &pod.Requests
	extended := slices.Sorted(maps.Keys(want.Extended)) // so that the same is said each time
	return func(n *snapshot.Node) *framework.Reason {
		have, used := &n.Allocatable, &n.Requested
		var out []*framework.Reason
		if used.Pods+1 > have.Pods {
			out = append(out, &framework.Reason{Message: "Too many pods", Counterfactual: fmt.Sprintf("fits once the node runs fewer than %d pods", have.Pods)})
		}
		lacks := func(name string, want, used, have int64, words func(free int64) string) {
			if want == 0 || used+want <= have {
				return
			}
			out = append(out, &framework.Reason{
				Message: "Insufficient " + name, Counterfactual: fmt.Sprintf("fits if the %s request is at most %s", name, words(max(0, have-used))), Lasting: want > have,
			})
		}
		lacks("cpu", want.MilliCPU, used.MilliCPU, have.MilliCPU, milli)
		lacks("memory", want.Memory, used.Memory, have.Memory, bytes)
		lacks("ephemeral-storage", want.Ephemeral, used.Ephemeral, have.Ephemeral, bytes)
		for _, name := range extended {
			lacks(string(name), want.Extended[name], used.Extended[name], have.Extended[name], units)
		}
		if len(out) == 0 {
			return nil
		}
		out[0].Also = out[1:]
		return out[0]
	}
}

func milli(free int64) string { return resource.NewMilliQuantity(free, resource.DecimalSI).String() }
func bytes(free int64) string { return resource.NewQuantity(free, resource.BinarySI).String() }
func units(free int64) string { return resource.NewQuantity(free, resource.DecimalSI).String() }

// Requests that pods without any count as in scores, so that they spread too; Kubernetes' values.
const (
	assumedMilliCPU = 100
	assumedMemory   = 200 << 20
)

func shares(pod *snapshot.Pod, n *snapshot.Node) (cpu, memory float64) {
	// What pods without requests add is not in Requested: their number stands in for it.
	c := max(pod.Requests.MilliCPU, assumedMilliCPU) + max(n.Requested.MilliCPU, n.Requested.Pods*assumedMilliCPU)
	m := max(pod.Requests.Memory, assumedMemory) + max(n.Requested.Memory, n.Requested.Pods*assumedMemory)
	return share(c, n.Allocatable.MilliCPU), share(m, n.Allocatable.Memory)
}

func share(used, have int64) float64 {
	if have <= 0 || used >= have {
		return 1
	}
	return float64(used) / float64(have)
}

// scoreLeastAllocated prefers nodes with the most room left.
func scoreLeastAllocated(_ *snapshot.Snapshot, pod *snapshot.Pod) framework.NodeScore {
	return func(n *snapshot.Node) int64 {
		cpu, memory := shares(pod, n)
		return int64((2 - cpu - memory) / 2 * framework.MaxScore)
	}
}

// scoreBalanced prefers nodes where the pod would leave cpu and memory used in like measure.
func scoreBalanced(_ *snapshot.Snapshot, pod *snapshot.Pod) framework.NodeScore {
	return func(n *snapshot.Node) int64 {
		cpu, memory := shares(pod, n)
		return int64((1 - math.Abs(cpu-memory)/2) * framework.MaxScore)
	}
}
