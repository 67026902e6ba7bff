package plugin

import (
	"fmt"
	"math"

	"k8s.io/apimachinery/pkg/api/resource"

	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/snapshot"
)

// filterResources refuses nodes without room for the pod's requests. A request of zero always fits.
func filterResources(_ *snapshot.Snapshot, pod *snapshot.Pod) framework.NodeFilter {
	want := &pod.Requests
	return func(n *snapshot.Node) *framework.Reason {
		have, used := &n.Allocatable, &n.Requested
		switch {
		case used.Pods+1 > have.Pods:
			return &framework.Reason{Message: "Too many pods", Counterfactual: fmt.Sprintf("fits once the node runs fewer than %d pods", have.Pods)}
		case want.MilliCPU > 0 && used.MilliCPU+want.MilliCPU > have.MilliCPU:
			return lacks("cpu", resource.NewMilliQuantity(max(0, have.MilliCPU-used.MilliCPU), resource.DecimalSI))
		case want.Memory > 0 && used.Memory+want.Memory > have.Memory:
			return lacks("memory", resource.NewQuantity(max(0, have.Memory-used.Memory), resource.BinarySI))
		case want.Ephemeral > 0 && used.Ephemeral+want.Ephemeral > have.Ephemeral:
			return lacks("ephemeral-storage", resource.NewQuantity(max(0, have.Ephemeral-used.Ephemeral), resource.BinarySI))
		}
		for name, v := range want.Extended {
			if v > 0 && used.Extended[name]+v > have.Extended[name] {
				return lacks(string(name), resource.NewQuantity(max(0, have.Extended[name]-used.Extended[name]), resource.DecimalSI))
			}
		}
		return nil
	}
}

func lacks(name string, free *resource.Quantity) *framework.Reason {
	return &framework.Reason{Message: "Insufficient " + name, Counterfactual: fmt.Sprintf("fits if the %s request is at most %s", name, free)}
}

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
