package registry

import (
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func networkPolicy() *Kind {
	return define(Spec[*networkingv1.NetworkPolicy]{
		GVK: networking("NetworkPolicy"), Resource: "networkpolicies", Singular: "networkpolicy", ShortNames: []string{"netpol"}, Namespaced: true,
		New:      func() *networkingv1.NetworkPolicy { return &networkingv1.NetworkPolicy{} },
		NewList:  func() runtime.Object { return &networkingv1.NetworkPolicyList{} },
		Life:     counted(func(p *networkingv1.NetworkPolicy) any { return p.Spec }),
		Default:  defaultNetworkPolicy,
		Validate: validateNetworkPolicy,
		Columns:  columns("Name|Pod-Selector|Age"),
		Cells: func(p *networkingv1.NetworkPolicy, now time.Time) []any {
			return []any{p.Name, metav1.FormatLabelSelector(&p.Spec.PodSelector), age(p.CreationTimestamp, now)}
		},
	})
}

func defaultNetworkPolicy(p *networkingv1.NetworkPolicy) {
	tcp := func(ports []networkingv1.NetworkPolicyPort) {
		for i := range ports {
			point(&ports[i].Protocol, corev1.ProtocolTCP)
		}
	}
	for i := range p.Spec.Ingress {
		tcp(p.Spec.Ingress[i].Ports)
	}
	for i := range p.Spec.Egress {
		tcp(p.Spec.Egress[i].Ports)
	}
	if len(p.Spec.PolicyTypes) > 0 {
		return
	}
	p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	if len(p.Spec.Egress) > 0 {
		p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
	}
}

func validateNetworkPolicy(np *networkingv1.NetworkPolicy) field.ErrorList {
	var e check.Errors
	p, s := field.NewPath("spec"), &np.Spec
	e.Selector(p.Child("podSelector"), &s.PodSelector)
	for i, r := range s.Ingress {
		at := p.Child("ingress").Index(i)
		validatePolicyPorts(&e, at.Child("ports"), r.Ports)
		validatePeers(&e, at.Child("from"), r.From)
	}
	for i, r := range s.Egress {
		at := p.Child("egress").Index(i)
		validatePolicyPorts(&e, at.Child("ports"), r.Ports)
		validatePeers(&e, at.Child("to"), r.To)
	}
	const most = 2
	if len(s.PolicyTypes) > most {
		e.Invalid(p.Child("policyTypes"), s.PolicyTypes, "may not specify more than two policyTypes")
		return e.List()
	}
	for i, t := range s.PolicyTypes {
		check.Among(&e, p.Child("policyTypes").Index(i), t, networkingv1.PolicyTypeEgress, networkingv1.PolicyTypeIngress)
	}
	return e.List()
}

func validatePolicyPorts(e *check.Errors, p *field.Path, ports []networkingv1.NetworkPolicyPort) {
	for i, port := range ports {
		at := p.Index(i)
		if port.Protocol != nil {
			check.Among(e, at.Child("protocol"), *port.Protocol, protocols...)
		}
		if port.Port != nil {
			e.PortOrName(at.Child("port"), *port.Port)
		}
		switch end := port.EndPort; {
		case end == nil:
		case port.Port == nil:
			e.Required(at.Child("port"), "must be specified when `endPort` is set")
		case port.Port.Type == intstr.String:
			e.Invalid(at.Child("endPort"), *end, "may not be specified when `port` is non-numeric")
		case *end < port.Port.IntVal:
			e.Invalid(at.Child("endPort"), port.Port.IntVal, "must be greater than or equal to `port`")
		default:
			e.Port(at.Child("endPort"), *end)
		}
	}
}

func validatePeers(e *check.Errors, p *field.Path, peers []networkingv1.NetworkPolicyPeer) {
	for i := range peers {
		peer, at := &peers[i], p.Index(i)
		kinds := 0
		if peer.PodSelector != nil {
			kinds++
			e.Selector(at.Child("podSelector"), peer.PodSelector)
		}
		if peer.NamespaceSelector != nil {
			kinds++
			e.Selector(at.Child("namespaceSelector"), peer.NamespaceSelector)
		}
		if peer.IPBlock != nil {
			if kinds > 0 {
				e.Forbidden(at, "may not specify both ipBlock and another peer")
			}
			kinds++
			validateBlock(e, at.Child("ipBlock"), peer.IPBlock)
		}
		if kinds == 0 {
			e.Required(at, "must specify a peer")
		}
	}
}

func validateBlock(e *check.Errors, p *field.Path, b *networkingv1.IPBlock) {
	if !e.NotEmpty(p.Child("cidr"), b.CIDR) {
		return
	}
	_, block, err := net.ParseCIDR(b.CIDR)
	e.CIDR(p.Child("cidr"), b.CIDR)
	if err != nil {
		return
	}
	size, _ := block.Mask.Size()
	for i, except := range b.Except {
		at := p.Child("except").Index(i)
		_, part, err := net.ParseCIDR(except)
		e.CIDR(at, except)
		if err != nil {
			continue
		}
		partSize, _ := part.Mask.Size()
		e.If(!block.Contains(part.IP) || size >= partSize, at, except, "must be a strict subset of `cidr`")
	}
}
