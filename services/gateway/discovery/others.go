package discovery

import (
	"slices"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
)

// addServer adds a group version that another server serves, in place of the API service's own if that has it too.
func addServer(groups []*group, of *apiv1.AggregatedVersion) []*group {
	v := &version{name: of.GetVersion(), kinds: of.GetKinds(), stale: !of.GetAvailable()}
	i := slices.IndexFunc(groups, func(g *group) bool { return g.name == of.GetGroup() })
	if i < 0 {
		return append(groups, &group{name: of.GetGroup(), versions: []*version{v}})
	}
	g := groups[i]
	if at := slices.IndexFunc(g.versions, func(have *version) bool { return have.name == v.name }); at >= 0 {
		g.versions[at] = v
	} else {
		g.versions = append(g.versions, v)
	}
	return groups
}

// arrange sorts groups and their versions as order has them; what it does not name comes last, as it is.
func arrange(groups []*group, order []string) {
	if len(order) == 0 {
		return
	}
	place := make(map[string]int, 2*len(order))
	for i, name := range order {
		group, _ := splitVersion(name)
		place[name] = i
		if _, known := place[group+"/"]; !known {
			place[group+"/"] = i
		}
	}
	at := func(name string) int {
		if i, ok := place[name]; ok {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(groups, func(a, b *group) int { return at(a.name+"/") - at(b.name+"/") })
	for _, g := range groups {
		name := func(v *version) string {
			if g.name == "" {
				return v.name
			}
			return g.name + "/" + v.name
		}
		slices.SortStableFunc(g.versions, func(a, b *version) int { return at(name(a)) - at(name(b)) })
	}
}

// splitVersion splits "apps/v1" into its group and version.
func splitVersion(groupVersion string) (group, version string) {
	for i := range len(groupVersion) {
		if groupVersion[i] == '/' {
			return groupVersion[:i], groupVersion[i+1:]
		}
	}
	return "", groupVersion
}
