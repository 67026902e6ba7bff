package registry

import (
	"net"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

func defaultNode(n *corev1.Node) {
	if n.Status.Allocatable == nil {
		n.Status.Allocatable = n.Status.Capacity
	}
	podspec.RoundResources(n.Status.Capacity)
	podspec.RoundResources(n.Status.Allocatable)
	if n.Spec.PodCIDR != "" && len(n.Spec.PodCIDRs) == 0 {
		n.Spec.PodCIDRs = []string{n.Spec.PodCIDR}
	}
	if n.Spec.PodCIDR == "" && len(n.Spec.PodCIDRs) > 0 {
		n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	}
}

func validateNode(n *corev1.Node) field.ErrorList {
	var e check.Errors
	spec := field.NewPath("spec")
	validateTaints(&e, spec.Child("taints"), n.Spec.Taints)
	validateNodeResources(&e, field.NewPath("status"), &n.Status)
	if len(n.Spec.PodCIDRs) > 0 {
		cidrs := spec.Child("podCIDRs")
		for i, c := range n.Spec.PodCIDRs {
			e.Add(validation.IsValidCIDRForLegacyField(cidrs.Index(i), c, true, nil)...)
		}
		if len(n.Spec.PodCIDRs) > 1 && !dualStack(n.Spec.PodCIDRs) {
			e.Invalid(cidrs, n.Spec.PodCIDRs, "may specify no more than one CIDR for each IP family")
		}
	}
	return e.List()
}

// dualStack says whether there is one CIDR of each family.
func dualStack(cidrs []string) bool {
	families := map[bool]int{}
	for _, c := range cidrs {
		_, n, err := net.ParseCIDR(c)
		if err != nil {
			return false
		}
		families[n.IP.To4() != nil]++
	}
	return len(cidrs) == 2 && len(families) == 2
}

func validateTaints(e *check.Errors, p *field.Path, taints []corev1.Taint) {
	type id struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := map[id]bool{}
	for i, t := range taints {
		at := p.Index(i)
		e.Add(metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
		if msgs := validation.IsValidLabelValue(t.Value); len(msgs) > 0 {
			e.Invalid(at.Child("value"), t.Value, check.Joined(msgs))
		}
		check.OneOf(e, at.Child("effect"), t.Effect, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
		if k := (id{t.Key, t.Effect}); seen[k] {
			d := field.Duplicate(at, t)
			d.Detail = "taints must be unique by key and effect pair"
			e.Add(d)
		} else {
			seen[k] = true
		}
	}
}

func validateNodeResources(e *check.Errors, p *field.Path, s *corev1.NodeStatus) {
	for name, q := range s.Capacity {
		podspec.CheckResource(e, p.Child("capacity").Key(string(name)), name, q)
	}
	for name, q := range s.Allocatable {
		podspec.CheckResource(e, p.Child("allocatable").Key(string(name)), name, q)
	}
}

func validateNodeUpdate(n, old *corev1.Node) field.ErrorList {
	var e check.Errors
	spec := field.NewPath("spec")
	// CIDRs may be given to a node once: pods already run with addresses out of them.
	if len(old.Spec.PodCIDRs) > 0 && !equality.Semantic.DeepEqual(n.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		e.Forbidden(spec.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid")
	}
	if old.Spec.ProviderID != "" && n.Spec.ProviderID != old.Spec.ProviderID {
		e.Forbidden(spec.Child("providerID"), "node updates may not change providerID except from \"\" to valid")
	}
	return e.List()
}

func validateNodeStatus(n, old *corev1.Node) field.ErrorList {
	var e check.Errors
	status := field.NewPath("status")
	seen := map[string]bool{}
	for i, a := range n.Status.Addresses {
		key := string(a.Type) + "/" + a.Address
		if seen[key] {
			e.Duplicate(status.Child("addresses").Index(i), a)
		}
		seen[key] = true
	}
	validateNodeResources(&e, status, &n.Status)
	return e.List()
}
