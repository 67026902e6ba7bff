package authz

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// Uncovered returns the rules of asked that held does not grant whole. A rule counts as granted when each single
// right in it (verb, group, resource, name) is granted by some rule of held.
func Uncovered(held, asked []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for _, rule := range asked {
		if !coversRule(held, rule) {
			out = append(out, rule)
		}
	}
	return out
}

func coversRule(held []rbacv1.PolicyRule, asked rbacv1.PolicyRule) bool {
	if slices.ContainsFunc(held, func(h rbacv1.PolicyRule) bool { return coveredByOne(h, asked) }) {
		return true
	}
	for _, single := range split(asked) {
		if !slices.ContainsFunc(held, func(h rbacv1.PolicyRule) bool { return coveredByOne(h, single) }) {
			return false
		}
	}
	return true
}

// split breaks a rule into rules of one verb, group, resource and name each.
func split(r rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for _, verb := range r.Verbs {
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				one := rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{group}, Resources: []string{resource}}
				if len(r.ResourceNames) == 0 {
					out = append(out, one)
				}
				for _, name := range r.ResourceNames {
					one.ResourceNames = []string{name}
					out = append(out, one)
				}
			}
		}
		for _, url := range r.NonResourceURLs {
			out = append(out, rbacv1.PolicyRule{Verbs: []string{verb}, NonResourceURLs: []string{url}})
		}
	}
	return out
}

func coveredByOne(h, asked rbacv1.PolicyRule) bool {
	if !hasAll(h.Verbs, asked.Verbs) || !hasAll(h.APIGroups, asked.APIGroups) {
		return false
	}
	for _, resource := range asked.Resources {
		if !coversResource(h.Resources, resource) {
			return false
		}
	}
	for _, url := range asked.NonResourceURLs {
		if !slices.ContainsFunc(h.NonResourceURLs, func(have string) bool { return coversURL(have, url) }) {
			return false
		}
	}
	if len(asked.Resources) == 0 || len(h.ResourceNames) == 0 {
		return true
	}
	return len(asked.ResourceNames) > 0 && hasAllExact(h.ResourceNames, asked.ResourceNames)
}

func hasAll(have, asked []string) bool { return slices.Contains(have, "*") || hasAllExact(have, asked) }

func hasAllExact(have, asked []string) bool {
	for _, a := range asked {
		if !slices.Contains(have, a) {
			return false
		}
	}
	return true
}

func coversResource(have []string, asked string) bool {
	if slices.Contains(have, rbacv1.ResourceAll) || slices.Contains(have, asked) {
		return true
	}
	_, sub, ok := strings.Cut(asked, "/")
	return ok && slices.Contains(have, "*/"+sub)
}

func coversURL(have, asked string) bool {
	if have == asked || have == rbacv1.NonResourceAll {
		return true
	}
	prefix, ok := strings.CutSuffix(have, "*")
	return ok && strings.HasPrefix(strings.TrimSuffix(asked, "*"), prefix)
}
