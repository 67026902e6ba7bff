// Package plugin holds the scheduler's filters and scores, one file each, and the ordered list of them.
package plugin

import "karve.dev/karve/services/scheduler/framework"

// Default is the ordered list of plugins: cheap and decisive filters first. Weights are Kubernetes' defaults.
func Default() []framework.Plugin {
	return []framework.Plugin{
		{Name: "NodeUnschedulable", Filter: filterUnschedulable, Wakes: framework.NodeAdded | framework.NodeTaints},
		{Name: "TaintToleration", Filter: filterTaints, Score: scoreTaints, Weight: 3, Normalize: lowestFirst, Wakes: framework.NodeAdded | framework.NodeTaints},
		{Name: "NodeAffinity", Filter: filterNodeAffinity, Score: scoreNodeAffinity, Weight: 2, Normalize: highestFirst, Wakes: framework.NodeAdded | framework.NodeLabels},
		{Name: "VolumeRestrictions", Filter: filterSingleUse, Wakes: framework.PodGone | framework.StorageChanged},
		{Name: "VolumeBinding", Refuse: refuseClaims, Filter: filterVolumes, Wakes: framework.NodeAdded | framework.NodeLabels | framework.StorageChanged},
		{Name: "NodePorts", Filter: filterPorts, Wakes: framework.NodeAdded | framework.PodGone},
		{Name: "NodeResourcesFit", Filter: filterResources, Score: scoreLeastAllocated, Weight: 1, Wakes: framework.NodeAdded | framework.NodeAllocatable | framework.PodGone},
		{Name: "NodeResourcesBalancedAllocation", Score: scoreBalanced, Weight: 1},
		{Name: "PodTopologySpread", Filter: filterSpread, Score: scoreSpread, Weight: 2, Normalize: lowestFirst, Wakes: framework.NodeAdded | framework.NodeLabels | framework.PodGone | framework.PodPlaced},
		{Name: "InterPodAffinity", Filter: filterPodAffinity, Score: scorePodAffinity, Weight: 2, Normalize: spanToRange, Wakes: framework.NodeAdded | framework.NodeLabels | framework.PodGone | framework.PodPlaced},
	}
}

// highestFirst scales scores so that the highest becomes MaxScore.
func highestFirst(scores []int64) {
	var top int64
	for _, s := range scores {
		top = max(top, s)
	}
	if top == 0 {
		return
	}
	for i := range scores {
		scores[i] = scores[i] * framework.MaxScore / top
	}
}

// lowestFirst scales scores so that 0 becomes MaxScore and the highest 0.
func lowestFirst(scores []int64) {
	highestFirst(scores)
	for i := range scores {
		scores[i] = framework.MaxScore - scores[i]
	}
}

// spanToRange scales scores so that the lowest becomes 0 and the highest MaxScore.
func spanToRange(scores []int64) {
	if len(scores) == 0 {
		return
	}
	low, high := scores[0], scores[0]
	for _, s := range scores {
		low, high = min(low, s), max(high, s)
	}
	for i := range scores {
		if high == low {
			scores[i] = 0
			continue
		}
		scores[i] = (scores[i] - low) * framework.MaxScore / (high - low)
	}
}
