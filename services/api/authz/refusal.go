package authz

import (
	"slices"
	"strconv"
	"strings"
)

// refusal joins what the rules for nodes and RBAC have to say, in Kubernetes' words.
func refusal(node, missing string) string {
	var reasons []string
	if node != "" {
		reasons = append(reasons, "node: "+node)
	}
	if missing != "" {
		reasons = append(reasons, "rbac: RBAC: "+missing)
	}
	return strings.Join(reasons, "\n")
}

// missing names the roles that bindings of the user refer to and that do not exist: often that is why he is refused.
func (x *index) missing(attrs *Attributes) string {
	var out []string
	for _, key := range subjectsOf(attrs.User, attrs.Namespace) {
		for b := range x.bySubject[key] {
			if x.roles[b.role] != nil || attrs.Path != "" && b.name.namespace != "" {
				continue
			}
			kind := "clusterrole"
			if b.role.namespace != "" {
				kind = "role"
			}
			out = append(out, kind+".rbac.authorization.k8s.io "+strconv.Quote(b.role.name)+" not found")
		}
	}
	slices.Sort(out)
	if out = slices.Compact(out); len(out) > 1 {
		return "[" + strings.Join(out, ", ") + "]"
	}
	return strings.Join(out, "")
}
