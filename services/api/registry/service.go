package registry

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

func service() *Kind {
	life := specAndStatus(func(o *corev1.Service) (*corev1.ServiceSpec, *corev1.ServiceStatus) { return &o.Spec, &o.Status })
	return define(Spec[*corev1.Service]{
		GVK: core("Service"), Resource: "services", Singular: "service", ShortNames: []string{"svc"}, Categories: []string{"all"}, Namespaced: true,
		New:            func() *corev1.Service { return &corev1.Service{} },
		NewList:        func() runtime.Object { return &corev1.ServiceList{} },
		Life:           life,
		Default:        defaultService,
		PrepareCreate:  func(s *corev1.Service) { life.create(s); defaultFamilies(&s.Spec) },
		PrepareUpdate:  func(s, old *corev1.Service) { life.update(s, old); keepAllocated(&s.Spec, &old.Spec) },
		Validate:       validateService,
		ValidateUpdate: validateServiceUpdate,
		ValidateName:   serviceName,
		Columns:        columns("Name|Type|Cluster-IP|External-IP|Port(s)|Age|+Selector"),
		Cells: func(s *corev1.Service, now time.Time) []any {
			ip := none
			if len(s.Spec.ClusterIPs) > 0 {
				ip = s.Spec.ClusterIPs[0]
			}
			return []any{s.Name, string(s.Spec.Type), ip, externalIP(s), orNone(servicePorts(s.Spec.Ports)), age(s.CreationTimestamp, now),
				labels.FormatLabels(s.Spec.Selector)}
		},
		Fields: func(s *corev1.Service) fields.Set {
			return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
		},
		Subresources: []Subresource{{Name: "proxy", Kind: core("ServiceProxyOptions"), Verbs: proxyVerbs}},
	})
}

func externalIP(s *corev1.Service) string {
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		addresses := loadBalancerAddresses(s.Status.LoadBalancer.Ingress)
		if all := append(addresses, s.Spec.ExternalIPs...); len(all) > 0 {
			return strings.Join(all, ",")
		}
		return "<pending>"
	}
	return orNone(strings.Join(s.Spec.ExternalIPs, ","))
}

// loadBalancerAddresses are the addresses or names under which a load balancer answers, each once.
func loadBalancerAddresses(ingress []corev1.LoadBalancerIngress) []string {
	var all []string
	for _, i := range ingress {
		if i.IP != "" {
			all = append(all, i.IP)
		} else if i.Hostname != "" {
			all = append(all, i.Hostname)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func servicePorts(ports []corev1.ServicePort) string {
	var all []string
	for _, p := range ports {
		if p.NodePort > 0 {
			all = append(all, fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol))
		} else {
			all = append(all, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
		}
	}
	return strings.Join(all, ",")
}
