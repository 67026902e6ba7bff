package authz

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// verbs are the ones that nearly every rule uses, as bits.
var verbBits = map[string]uint32{
	"get": 1, "list": 2, "watch": 4, "create": 8, "update": 16, "patch": 32, "delete": 64, "deletecollection": 128,
	"use": 256, "bind": 512, "escalate": 1024, "impersonate": 2048, "approve": 4096, "sign": 8192, "post": 16384, "put": 32768, "head": 65536, "options": 131072,
}

const allVerbs = ^uint32(0)

// verbSet holds the verbs of a rule: bits for those we know, names for others.
type verbSet struct {
	bits  uint32
	other []string
}

func verbsOf(verbs []string) verbSet {
	var out verbSet
	for _, v := range verbs {
		switch bit := verbBits[v]; {
		case v == rbacv1.VerbAll:
			out.bits = allVerbs
		case bit != 0:
			out.bits |= bit
		default:
			out.other = append(out.other, v)
		}
	}
	return out
}

func (s verbSet) has(verb string, bit uint32) bool {
	if s.bits == allVerbs {
		return true
	}
	if bit != 0 {
		return s.bits&bit != 0
	}
	for _, v := range s.other {
		if v == verb {
			return true
		}
	}
	return false
}

// target is what a rule is about. Resource holds the subresource too ("pods/log", "*/scale"); "*" is any.
type target struct{ group, resource string }

// grant is the verbs of one rule for one target; nil names means every object.
type grant struct {
	verbs verbSet
	names map[string]struct{}
}

// pathGrant is a nonResourceURL; a trailing * was cut off when prefix is set.
type pathGrant struct {
	path   string
	prefix bool
	verbs  verbSet
}

// compiledRole answers from maps what the rules of a role answer by a scan.
type compiledRole struct {
	rules []rbacv1.PolicyRule
	exact map[target][]grant
	// wild holds the targets with a * in them.
	wild  map[target][]grant
	paths []pathGrant
}

func compile(rules []rbacv1.PolicyRule) *compiledRole {
	role := &compiledRole{}
	for i := range rules {
		rule := rules[i].DeepCopy()
		role.rules = append(role.rules, *rule)
		g := grant{verbs: verbsOf(rule.Verbs)}
		for _, name := range rule.ResourceNames {
			if g.names == nil {
				g.names = make(map[string]struct{}, len(rule.ResourceNames))
			}
			g.names[name] = struct{}{}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				role.add(target{group, resource}, g)
			}
		}
		for _, url := range rule.NonResourceURLs {
			path, prefix := strings.CutSuffix(url, "*")
			role.paths = append(role.paths, pathGrant{path: path, prefix: prefix, verbs: g.verbs})
		}
	}
	return role
}

func (r *compiledRole) add(t target, g grant) {
	into := &r.exact
	if t.group == rbacv1.APIGroupAll || t.resource == rbacv1.ResourceAll || strings.HasPrefix(t.resource, "*/") {
		into = &r.wild
	}
	if *into == nil {
		*into = map[target][]grant{}
	}
	(*into)[t] = append((*into)[t], g)
}

func (r *compiledRole) allows(attrs *Attributes) bool {
	resource := attrs.Resource
	if attrs.Subresource != "" && len(r.exact)+len(r.wild) > 0 {
		resource += "/" + attrs.Subresource
	}
	bit := verbBits[attrs.Verb]
	if len(r.exact) > 0 && granted(r.exact[target{attrs.Group, resource}], attrs, bit) {
		return true
	}
	if len(r.wild) == 0 {
		return false
	}
	for _, group := range [2]string{attrs.Group, rbacv1.APIGroupAll} {
		if granted(r.wild[target{group, resource}], attrs, bit) || granted(r.wild[target{group, rbacv1.ResourceAll}], attrs, bit) {
			return true
		}
		if attrs.Subresource != "" && granted(r.wild[target{group, "*/" + attrs.Subresource}], attrs, bit) {
			return true
		}
	}
	return false
}

func granted(grants []grant, attrs *Attributes, bit uint32) bool {
	for i := range grants {
		g := &grants[i]
		if !g.verbs.has(attrs.Verb, bit) {
			continue
		}
		if g.names == nil {
			return true
		}
		if _, ok := g.names[attrs.Name]; ok && attrs.Name != "" {
			return true
		}
	}
	return false
}

func (r *compiledRole) allowsPath(verb, path string) bool {
	bit := verbBits[verb]
	for i := range r.paths {
		p := &r.paths[i]
		if (p.path == path || p.prefix && strings.HasPrefix(path, p.path)) && p.verbs.has(verb, bit) {
			return true
		}
	}
	return false
}
