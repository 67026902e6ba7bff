package aggregator

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	apiversion "k8s.io/apimachinery/pkg/version"
)

// priority orders group versions: the highest group first, in it the highest version.
type priority struct{ group, version int32 }

// builtIn are the priorities of the groups that the API service itself has, as Kubernetes gives them.
var builtIn = map[string]int32{
	"": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600, "autoscaling": 17500,
	"batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100, "rbac.authorization.k8s.io": 17000,
	"storage.k8s.io": 16800, "apiextensions.k8s.io": 16700, "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600,
	"coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200, "flowcontrol.apiserver.k8s.io": 16100,
	"internal.apiserver.k8s.io": 16000, "resource.k8s.io": 15900, "storagemigration.k8s.io": 15800,
}

// Version priorities where a group's newest version is not simply the best.
var builtInVersions = map[schema.GroupVersion]int32{
	{Version: "v1"}: 1, {Group: "autoscaling", Version: "v2"}: 30, {Group: "flowcontrol.apiserver.k8s.io", Version: "v1"}: 21,
}

// customPriority is that of custom kinds, otherPriority that of built-in groups which other servers may well take over.
var customPriority, otherPriority = priority{1000, 100}, priority{100, 100}

// priorityOf is the priority that a group version gets which the API service itself serves.
func priorityOf(gv schema.GroupVersion, custom bool) priority {
	if custom {
		return customPriority
	}
	group, known := builtIn[gv.Group]
	if !known {
		return otherPriority
	}
	if v, ok := builtInVersions[gv]; ok {
		return priority{group, v}
	}
	switch {
	case strings.Contains(gv.Version, "alpha"):
		return priority{group, 1}
	case strings.Contains(gv.Version, "beta"):
		return priority{group, 9}
	}
	return priority{group, 15}
}

// ordered returns group versions in the order in which clients should prefer them. A group has the place of its best
// version.
func ordered(all map[schema.GroupVersion]priority) []schema.GroupVersion {
	best := map[string]int32{}
	out := make([]schema.GroupVersion, 0, len(all))
	for gv, p := range all {
		best[gv.Group] = max(best[gv.Group], p.group)
		out = append(out, gv)
	}
	slices.SortFunc(out, func(a, b schema.GroupVersion) int {
		return cmp.Or(
			cmp.Compare(best[b.Group], best[a.Group]), strings.Compare(a.Group, b.Group),
			cmp.Compare(all[b].version, all[a].version), apiversion.CompareKubeAwareVersionStrings(b.Version, a.Version),
		)
	})
	return out
}
