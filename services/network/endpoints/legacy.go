package endpoints

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/conditions"
)

const (
	// maxLegacy bounds the addresses of an Endpoints object, which is written as a whole.
	maxLegacy       = 1000
	managedByLabel  = "endpoints.kubernetes.io/managed-by"
	managedByLegacy = "endpoint-controller"
	truncated       = "truncated"
)

// planLegacy returns the service's Endpoints object as it should be, nil when existing (which may be nil) is that.
func planLegacy(svc *corev1.Service, pods []*corev1.Pod, existing *corev1.Endpoints) *corev1.Endpoints {
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	next := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name}}
	if existing != nil {
		next = existing.DeepCopy()
	}
	var cut bool
	next.Subsets, cut = subsets(svc, pods)
	next.Labels = labelsOf(svc, map[string]string{managedByLabel: managedByLegacy})
	if cut {
		if next.Annotations == nil {
			next.Annotations = map[string]string{}
		}
		next.Annotations[corev1.EndpointsOverCapacity] = truncated
	} else {
		delete(next.Annotations, corev1.EndpointsOverCapacity)
	}
	if existing != nil && equality.Semantic.DeepEqual(existing, next) {
		return nil
	}
	return next
}

// subsets lists addresses by their ports, as many as fit; those that are ready come first.
func subsets(svc *corev1.Service, pods []*corev1.Pod) (out []corev1.EndpointSubset, cut bool) {
	type entry struct {
		ports   []discoveryv1.EndpointPort
		address corev1.EndpointAddress
		ready   bool
	}
	var entries []entry
	family := families(svc)[0]
	for _, p := range pods {
		ip, ok := addressOf(p, family)
		if !ok || !listed(p) || p.DeletionTimestamp != nil && !svc.Spec.PublishNotReadyAddresses {
			continue
		}
		e := entry{portsOf(svc, p), corev1.EndpointAddress{IP: ip, TargetRef: podRef(p)}, svc.Spec.PublishNotReadyAddresses || conditions.PodReady(p)}
		if p.Spec.NodeName != "" {
			e.address.NodeName = &p.Spec.NodeName
		}
		if p.Spec.Subdomain == svc.Name {
			e.address.Hostname = p.Spec.Hostname
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if a.ready != b.ready {
			return map[bool]int{true: -1, false: 1}[a.ready]
		}
		return cmp.Or(cmp.Compare(a.address.IP, b.address.IP), cmp.Compare(a.address.TargetRef.UID, b.address.TargetRef.UID))
	})
	if len(entries) > maxLegacy {
		entries, cut = entries[:maxLegacy], true
	}
	byPorts := map[string]*corev1.EndpointSubset{}
	for _, e := range entries {
		key := portsKey(e.ports)
		s := byPorts[key]
		if s == nil {
			s = &corev1.EndpointSubset{Ports: legacyPorts(e.ports)}
			byPorts[key] = s
		}
		if e.ready {
			s.Addresses = append(s.Addresses, e.address)
		} else {
			s.NotReadyAddresses = append(s.NotReadyAddresses, e.address)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(byPorts)) {
		out = append(out, *byPorts[key])
	}
	return out, cut
}

func legacyPorts(ports []discoveryv1.EndpointPort) []corev1.EndpointPort {
	var out []corev1.EndpointPort
	for _, p := range ports {
		out = append(out, corev1.EndpointPort{Name: value(p.Name), Port: value(p.Port), Protocol: value(p.Protocol), AppProtocol: p.AppProtocol})
	}
	return out
}
