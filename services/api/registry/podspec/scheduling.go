package podspec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// validateScheduling checks when and where the pod may start; p is the spec's path.
func (s *scope) validateScheduling(p *field.Path) {
	for i, g := range s.spec.ReadinessGates {
		s.Qualified(p.Child("readinessGates").Index(i).Child("conditionType"), string(g.ConditionType))
	}
	gates := map[string]bool{}
	for i, g := range s.spec.SchedulingGates {
		at := p.Child("schedulingGates").Index(i)
		s.Qualified(at, g.Name)
		s.unique(gates, at, g.Name)
	}
	s.validateSpread(p.Child("topologySpreadConstraints"))
	validateTolerations(s.Errors, p.Child("tolerations"), s.spec.Tolerations)
	s.validateResponders(p.Child("evictionResponders"))
}

func validateTolerations(e *check.Errors, p *field.Path, tolerations []corev1.Toleration) {
	for i := range tolerations {
		t, at := &tolerations[i], p.Index(i)
		if t.Key != "" {
			e.Add(metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
		} else if t.Operator != corev1.TolerationOpExists {
			e.Invalid(at.Child("operator"), t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"")
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			e.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
		}
		switch t.Operator {
		case corev1.TolerationOpEqual, "":
			if msgs := validation.IsValidLabelValue(t.Value); len(msgs) > 0 {
				e.Invalid(at.Child("operator"), t.Value, strings.Join(msgs, ";"))
			}
		case corev1.TolerationOpExists:
			if t.Value != "" {
				e.Invalid(at.Child("operator"), *t, "value must be empty when `operator` is 'Exists'")
			}
		default:
			check.Among(e, at.Child("operator"), t.Operator, corev1.TolerationOpEqual, corev1.TolerationOpExists)
		}
		if t.Effect != "" {
			check.Among(e, at.Child("effect"), t.Effect, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
		}
	}
}

func (s *scope) validateSpread(p *field.Path) {
	all := s.spec.TopologySpreadConstraints
	for i := range all {
		c, at := &all[i], p.Index(i)
		s.Positive(at.Child("maxSkew"), int64(c.MaxSkew))
		if c.TopologyKey == "" {
			s.Required(at.Child("topologyKey"), "can not be empty")
		}
		check.Among(s.Errors, at.Child("whenUnsatisfiable"), c.WhenUnsatisfiable, corev1.DoNotSchedule, corev1.ScheduleAnyway)
		if slices.ContainsFunc(all[i+1:], func(o corev1.TopologySpreadConstraint) bool {
			return o.TopologyKey == c.TopologyKey && o.WhenUnsatisfiable == c.WhenUnsatisfiable
		}) {
			s.Duplicate(at.Child("{topologyKey, whenUnsatisfiable}"), fmt.Sprintf("{%v, %v}", c.TopologyKey, c.WhenUnsatisfiable))
		}
		if d := c.MinDomains; d != nil {
			s.Positive(at.Child("minDomains"), int64(*d))
			s.If(c.WhenUnsatisfiable != corev1.DoNotSchedule, at.Child("minDomains"), *d,
				fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", corev1.DoNotSchedule, c.WhenUnsatisfiable))
		}
		for _, policy := range []struct {
			name  string
			value *corev1.NodeInclusionPolicy
		}{{"nodeAffinityPolicy", c.NodeAffinityPolicy}, {"nodeTaintsPolicy", c.NodeTaintsPolicy}} {
			if policy.value != nil {
				check.Among(s.Errors, at.Child(policy.name), *policy.value, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
			}
		}
		s.validateLabelKeys(at.Child("matchLabelKeys"), c.MatchLabelKeys, c.LabelSelector != nil)
		s.Selector(at.Child("labelSelector"), c.LabelSelector)
	}
}

func (s *scope) validateResponders(p *field.Path) {
	const most, last = 10, 100000
	if n := len(s.spec.EvictionResponders); n > most {
		s.Add(field.TooMany(p, n, most))
	}
	names := map[string]bool{}
	for i := range s.spec.EvictionResponders {
		r, at := &s.spec.EvictionResponders[i], p.Index(i)
		if s.NotEmpty(at.Child("name"), r.Name) {
			s.Add(validation.IsDomainPrefixedKey(at.Child("name"), r.Name)...)
			s.unique(names, at, r.Name)
		}
		if r.Priority == nil {
			s.Required(at.Child("priority"), "")
		} else {
			s.InRange(at.Child("priority"), int64(*r.Priority), 0, last)
		}
	}
}

func (s *scope) validateResourceClaims(p *field.Path) {
	for i := range s.spec.ResourceClaims {
		c, at := &s.spec.ResourceClaims[i], p.Index(i)
		if s.NotEmpty(at.Child("name"), c.Name) {
			s.Label(at.Child("name"), c.Name)
			s.unique(s.claims, at.Child("name"), c.Name)
		}
		switch direct, template := c.ResourceClaimName != nil, c.ResourceClaimTemplateName != nil; {
		case direct && template:
			s.Invalid(at, c, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified")
		case !direct && !template:
			s.Invalid(at, c, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
		case direct:
			s.Subdomain(at.Child("resourceClaimName"), *c.ResourceClaimName)
		default:
			s.Subdomain(at.Child("resourceClaimTemplateName"), *c.ResourceClaimTemplateName)
		}
	}
}
