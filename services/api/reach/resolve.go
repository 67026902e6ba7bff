package reach

import (
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// endpoint is where a Service's connections may go: a pod of its namespace or, when pod is empty, an address.
type endpoint struct {
	pod, address string
	port         int32
}

// portOf finds what EndpointSlices call a Service's port, which is given by number or by name, and its number. A name that
// the Service does not have is nobody's port: its endpoints will not have it either.
func portOf(svc *corev1.Service, port string) (name string, number int32, err error) {
	wanted, err := strconv.ParseInt(port, 10, 64)
	byNumber := err == nil
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if byNumber && int64(p.Port) == wanted || !byNumber && p.Name == port {
			return p.Name, p.Port, nil
		}
	}
	if byNumber {
		return "", 0, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", wanted, svc.Name))
	}
	return "", 0, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", svc.Name))
}

// candidates are the ready endpoints of a port. An endpoint without a port number of its own has the Service's.
func candidates(of []*discoveryv1.EndpointSlice, port string, number int32) []endpoint {
	var out []endpoint
	seen := map[endpoint]bool{}
	for _, s := range of {
		to, ok := portIn(s, port, number)
		if !ok {
			continue
		}
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if len(e.Addresses) == 0 || e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			found := endpoint{port: to}
			if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
				found.pod = e.TargetRef.Name
			} else {
				found.address = e.Addresses[0]
			}
			// A pod with two families of addresses has two slices, and is one endpoint.
			if !seen[found] {
				seen[found] = true
				out = append(out, found)
			}
		}
	}
	return out
}

// inPods are those of the endpoints that are pods.
func inPods(all []endpoint) []endpoint {
	return slices.DeleteFunc(all, func(e endpoint) bool { return e.pod == "" })
}

func portIn(s *discoveryv1.EndpointSlice, name string, number int32) (int32, bool) {
	for i := range s.Ports {
		p := &s.Ports[i]
		switch {
		case p.Name == nil && name != "", p.Name != nil && *p.Name != name, p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP:
		case p.Port == nil:
			return number, true
		default:
			return *p.Port, true
		}
	}
	return 0, false
}
