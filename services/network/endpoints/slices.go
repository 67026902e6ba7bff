package endpoints

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// MaxPerSlice bounds the endpoints of one slice: a change of one of many thousands is a small write.
	MaxPerSlice = 100
	managedBy   = "endpointslice-controller.k8s.io"
)

// slicePlan is what to write, in this order: at no moment is an endpoint missing that was there before and stays.
type slicePlan struct {
	create, update []*discoveryv1.EndpointSlice
	remove         []*discoveryv1.EndpointSlice
}

// planSlices brings the service's slices to hold the groups with few writes: endpoints stay in the slice where they
// are; new ones go to slices that change anyway, then into one with room, then into new slices.
func planSlices(svc *corev1.Service, groups []*group, existing []*discoveryv1.EndpointSlice) slicePlan {
	var p slicePlan
	existing = slices.Clone(existing)
	slices.SortFunc(existing, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	for _, family := range families(svc) {
		if !slices.ContainsFunc(groups, func(g *group) bool { return g.family == family }) {
			groups = append(groups, &group{family: family}) // an empty slice says that there is nothing, not that nobody looked
		}
	}
	used := map[*discoveryv1.EndpointSlice]bool{}
	for _, g := range groups {
		var mine []*slice
		for _, s := range existing {
			if fits(s, g) && !used[s] {
				used[s] = true
				mine = append(mine, &slice{was: s, endpoints: s.Endpoints})
			}
		}
		p.fill(svc, g, mine)
	}
	for _, s := range existing {
		if !used[s] {
			p.remove = append(p.remove, s)
		}
	}
	return p
}

// fits says that the slice can hold the group. Any can become the empty one, and that one can become any: without endpoints
// there are no ports.
func fits(s *discoveryv1.EndpointSlice, g *group) bool {
	return s.AddressType == g.family && s.DeletionTimestamp == nil &&
		(len(g.endpoints) == 0 || len(s.Endpoints) == 0 || portsKey(s.Ports) == portsKey(g.ports))
}

// slice is one that exists, with what it will hold; was is nil for a new one.
type slice struct {
	was       *discoveryv1.EndpointSlice
	endpoints []discoveryv1.Endpoint
	changed   bool
}

func (s *slice) room() int { return MaxPerSlice - len(s.endpoints) }

func (s *slice) add(missing []discoveryv1.Endpoint) []discoveryv1.Endpoint {
	n := min(s.room(), len(missing))
	if n <= 0 {
		return missing
	}
	s.endpoints, s.changed = append(slices.Clip(s.endpoints), missing[:n]...), true
	return missing[n:]
}

func (p *slicePlan) fill(svc *corev1.Service, g *group, mine []*slice) {
	missing := g.settle(mine)
	for _, s := range mine {
		if s.changed {
			missing = s.add(missing)
		}
	}
	if len(missing) > 0 && len(missing) < MaxPerSlice {
		if s := tightest(mine, len(missing)); s != nil {
			missing = s.add(missing)
		}
	}
	for len(missing) > 0 {
		s := &slice{}
		missing = s.add(missing)
		mine = append(mine, s)
	}
	p.write(svc, g, mine)
}

// settle takes out of the slices what is not wanted, or is there twice, renews what has changed, and returns what no
// slice has, in the order of the pods' names.
func (g *group) settle(mine []*slice) []discoveryv1.Endpoint {
	found := map[types.UID]bool{}
	for _, s := range mine {
		kept := make([]discoveryv1.Endpoint, 0, len(s.endpoints))
		for _, e := range s.endpoints {
			var uid types.UID
			if e.TargetRef != nil {
				uid = e.TargetRef.UID
			}
			want, ok := g.endpoints[uid]
			if !ok || found[uid] {
				s.changed = true
				continue
			}
			found[uid] = true
			if !equality.Semantic.DeepEqual(e, want) {
				s.changed = true
			}
			kept = append(kept, want)
		}
		s.endpoints = kept
	}
	var missing []discoveryv1.Endpoint
	for uid, e := range g.endpoints {
		if !found[uid] {
			missing = append(missing, e)
		}
	}
	slices.SortFunc(missing, func(a, b discoveryv1.Endpoint) int { return cmp.Compare(a.TargetRef.Name, b.TargetRef.Name) })
	return missing
}

// tightest returns the fullest slice that has room for n.
func tightest(mine []*slice, n int) *slice {
	var best *slice
	for _, s := range mine {
		if s.room() >= n && (best == nil || s.room() < best.room()) {
			best = s
		}
	}
	return best
}

// write adds the slices to the plan. One empty slice may stay where a group has no endpoints at all.
func (p *slicePlan) write(svc *corev1.Service, g *group, mine []*slice) {
	if len(g.endpoints) == 0 && len(mine) == 0 {
		mine = []*slice{{changed: true}}
	}
	for i, s := range mine {
		placeholder := len(g.endpoints) == 0 && i == 0
		switch {
		case len(s.endpoints) == 0 && !placeholder:
			p.remove = append(p.remove, s.was)
		case s.was == nil:
			p.create = append(p.create, newSlice(svc, g, s.endpoints))
		case s.changed || !sameFrame(svc, s.was) || portsKey(s.was.Ports) != portsKey(g.ports):
			next := s.was.DeepCopy()
			next.Endpoints, next.Ports = s.endpoints, g.ports
			next.Labels = sliceLabels(svc)
			next.OwnerReferences = []metav1.OwnerReference{ownerOf(svc)}
			p.update = append(p.update, next)
		}
	}
}

// sameFrame says that what surrounds the endpoints is as it should be.
func sameFrame(svc *corev1.Service, s *discoveryv1.EndpointSlice) bool {
	return equality.Semantic.DeepEqual(s.Labels, sliceLabels(svc)) && metav1.IsControlledBy(s, svc)
}

func sliceLabels(svc *corev1.Service) map[string]string {
	return labelsOf(svc, map[string]string{discoveryv1.LabelServiceName: svc.Name, discoveryv1.LabelManagedBy: managedBy})
}

func ownerOf(svc *corev1.Service) metav1.OwnerReference {
	return *metav1.NewControllerRef(svc, corev1.SchemeGroupVersion.WithKind("Service"))
}

func newSlice(svc *corev1.Service, g *group, endpoints []discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: svc.Namespace, GenerateName: svc.Name + "-", Labels: sliceLabels(svc), OwnerReferences: []metav1.OwnerReference{ownerOf(svc)},
		},
		AddressType: g.family, Ports: g.ports, Endpoints: endpoints,
	}
}
