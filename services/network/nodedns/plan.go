package nodedns

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/clusterdns"
	"karve.dev/karve/internal/conditions"
)

// most bounds the slice. Every node is sent it whenever one of the nodes in it comes or goes, and nobody balances over it.
const most = 100

// plan is the slice that there should be; nil: none.
func plan(service *corev1.Service, nodes []*corev1.Node) *discoveryv1.EndpointSlice {
	if service == nil || service.DeletionTimestamp != nil || len(service.Spec.Selector) > 0 {
		return nil
	}
	address, err := netip.ParseAddr(service.Spec.ClusterIP)
	if err != nil {
		return nil
	}
	family := discoveryv1.AddressTypeIPv4
	if address.Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: service.Namespace, Name: service.Name,
			Labels:          map[string]string{discoveryv1.LabelServiceName: service.Name, discoveryv1.LabelManagedBy: clusterdns.ManagedBy},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(service, corev1.SchemeGroupVersion.WithKind("Service"))},
		},
		AddressType: family, Endpoints: []discoveryv1.Endpoint{},
	}
	for i := range service.Spec.Ports {
		p := &service.Spec.Ports[i]
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &p.Name, Port: new(int32(clusterdns.Port)), Protocol: &p.Protocol})
	}
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b *corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	for _, n := range nodes {
		pods, err := netip.ParsePrefix(n.Spec.PodCIDR)
		if err != nil || pods.Addr().Is6() != address.Is6() || len(s.Endpoints) == most {
			continue
		}
		ready := conditions.NodeReady(n)
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{clusterdns.ServerOf(pods).String()}, NodeName: &n.Name,
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready, Terminating: new(false)},
		})
	}
	return s
}
