package mirror

import (
	"fmt"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	managedBy = "endpointslicemirroring-controller.k8s.io"
	// leaderAnnotation marks Endpoints that are a lock, not addresses.
	leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"
	// maxPerSubset bounds what is mirrored of one subset, as in Kubernetes.
	maxPerSubset = 1000
)

// mirrored reports whether an Endpoints object is one that somebody keeps by hand for a Service.
func mirrored(svc *corev1.Service, e *corev1.Endpoints) bool {
	if svc == nil || svc.DeletionTimestamp != nil || len(svc.Spec.Selector) > 0 || e.DeletionTimestamp != nil {
		return false
	}
	_, lock := e.Annotations[leaderAnnotation]
	return !lock && e.Labels[discoveryv1.LabelSkipMirror] != "true"
}

// desired are the slices that say what an Endpoints object says: one for each subset and address family.
func desired(e *corev1.Endpoints) []*discoveryv1.EndpointSlice {
	var out []*discoveryv1.EndpointSlice
	for i := range e.Subsets {
		subset := &e.Subsets[i]
		for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
			endpoints := endpointsOf(subset, family)
			if len(endpoints) == 0 {
				continue
			}
			s := frame(e)
			s.Name = fmt.Sprintf("%s-%s-%d", e.Name, map[discoveryv1.AddressType]string{discoveryv1.AddressTypeIPv4: "v4", discoveryv1.AddressTypeIPv6: "v6"}[family], i)
			s.AddressType, s.Endpoints, s.Ports = family, endpoints, portsOf(subset)
			out = append(out, s)
		}
	}
	return out
}

// frame is a slice without endpoints.
func frame(e *corev1.Endpoints) *discoveryv1.EndpointSlice {
	labels := maps.Clone(e.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[discoveryv1.LabelServiceName], labels[discoveryv1.LabelManagedBy] = e.Name, managedBy
	annotations := maps.Clone(e.Annotations)
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	delete(annotations, corev1.EndpointsLastChangeTriggerTime)
	return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: e.Namespace, Labels: labels, Annotations: annotations,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(e, corev1.SchemeGroupVersion.WithKind("Endpoints"))},
	}}
}

func endpointsOf(subset *corev1.EndpointSubset, family discoveryv1.AddressType) []discoveryv1.Endpoint {
	var out []discoveryv1.Endpoint
	add := func(list []corev1.EndpointAddress, ready bool) {
		for i := range list {
			a := &list[i]
			ip, err := netip.ParseAddr(a.IP)
			if err != nil || ip.Is6() != (family == discoveryv1.AddressTypeIPv6) || len(out) == maxPerSubset {
				continue
			}
			endpoint := discoveryv1.Endpoint{Addresses: []string{a.IP}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, TargetRef: a.TargetRef, NodeName: a.NodeName}
			if a.Hostname != "" {
				endpoint.Hostname = &a.Hostname
			}
			out = append(out, endpoint)
		}
	}
	add(subset.Addresses, true)
	add(subset.NotReadyAddresses, false)
	return out
}

func portsOf(subset *corev1.EndpointSubset) []discoveryv1.EndpointPort {
	var out []discoveryv1.EndpointPort
	for i := range subset.Ports {
		p := &subset.Ports[i]
		out = append(out, discoveryv1.EndpointPort{Name: &p.Name, Port: &p.Port, Protocol: &p.Protocol, AppProtocol: p.AppProtocol})
	}
	return out
}

// same reports whether a slice says what it should. Its address type cannot change: another family has another name.
func same(have, want *discoveryv1.EndpointSlice) bool {
	return equality.Semantic.DeepEqual(have.Endpoints, want.Endpoints) && equality.Semantic.DeepEqual(have.Ports, want.Ports) &&
		equality.Semantic.DeepEqual(have.Labels, want.Labels) && equality.Semantic.DeepEqual(have.Annotations, want.Annotations) &&
		equality.Semantic.DeepEqual(have.OwnerReferences, want.OwnerReferences)
}
