package endpoints

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func service(change func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "s", Labels: map[string]string{"team": "a"}},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"}, ClusterIP: "10.96.0.7", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromString("web")}},
		},
	}
	if change != nil {
		change(svc)
	}
	return svc
}

func pod(n int, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("web-%04d", n), UID: types.UID(fmt.Sprint("p", n)), Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{
			NodeName:   "node-1",
			Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: fmt.Sprintf("10.244.%d.%d", n/200, n%200+1)}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	if change != nil {
		change(p)
	}
	return p
}

func pods(n int) (out []*corev1.Pod) {
	for i := range n {
		out = append(out, pod(i, nil))
	}
	return out
}

func zone(node string) string { return map[string]string{"node-1": "z1"}[node] }

func unready(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }

func terminating(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }

func TestAnEndpointTellsAllAboutItsPod(t *testing.T) {
	p := planSlices(service(nil), groupsOf(service(nil), pods(1), zone), nil)
	require.Empty(t, p.update)
	require.Len(t, p.create, 1)
	s := p.create[0]
	require.Equal(t, "web-", s.GenerateName)
	require.Equal(t, map[string]string{"team": "a", "kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}, s.Labels)
	require.True(t, metav1.IsControlledBy(s, service(nil)))
	require.Equal(t, discoveryv1.AddressTypeIPv4, s.AddressType)
	require.Equal(t, "http", *s.Ports[0].Name)
	require.EqualValues(t, 8080, *s.Ports[0].Port)
	yes, no := true, false
	node, z := "node-1", "z1"
	require.Equal(t, discoveryv1.Endpoint{
		Addresses: []string{"10.244.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
		NodeName: &node, Zone: &z, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "web-0000", UID: "p0"},
	}, s.Endpoints[0])
}

func TestConditionsAndWhoIsListed(t *testing.T) {
	all := []*corev1.Pod{
		pod(0, nil), pod(1, unready), pod(2, terminating),
		pod(3, func(p *corev1.Pod) { terminating(p); unready(p) }),
		pod(4, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }),
		pod(5, func(p *corev1.Pod) { p.Status.PodIPs = nil }),
	}
	conditions := func(svc *corev1.Service) (out []string) {
		for _, e := range planSlices(svc, groupsOf(svc, all, zone), nil).create[0].Endpoints {
			text := e.TargetRef.Name[7:]
			for name, v := range map[string]*bool{"r": e.Conditions.Ready, "s": e.Conditions.Serving, "t": e.Conditions.Terminating} {
				if *v {
					text += name
				}
			}
			letters := []rune(text)
			slices.Sort(letters)
			out = append(out, string(letters))
		}
		return out
	}
	require.Equal(t, []string{"0rs", "1", "2st", "3t"}, conditions(service(nil)))
	require.Equal(t, []string{"0rs", "1r", "2rst", "3rt"}, conditions(service(func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true })))
}

func TestPodsThatGiveAPortOtherNumbersGetSlicesOfTheirOwn(t *testing.T) {
	other := pod(1, func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = 9090 })
	without := pod(2, func(p *corev1.Pod) { p.Spec.Containers[0].Ports = nil })
	p := planSlices(service(nil), groupsOf(service(nil), []*corev1.Pod{pod(0, nil), other, without}, zone), nil)
	numbers := map[string]int{}
	for _, s := range p.create {
		for _, port := range s.Ports {
			numbers[fmt.Sprint(*port.Port)]++
		}
	}
	require.Len(t, p.create, 3)
	require.Equal(t, map[string]int{"8080": 1, "9090": 1}, numbers)
}

func TestOtherKindsOfServices(t *testing.T) {
	none := planSlices(service(nil), groupsOf(service(nil), nil, zone), nil)
	require.Len(t, none.create, 1, "an empty slice, so that readers know")
	require.Empty(t, none.create[0].Endpoints)

	headless := service(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.Ports = "None", nil })
	named := pod(0, func(p *corev1.Pod) { p.Spec.Hostname, p.Spec.Subdomain = "first", "web" })
	s := planSlices(headless, groupsOf(headless, []*corev1.Pod{named}, zone), nil).create[0]
	require.Contains(t, s.Labels, corev1.IsHeadlessService)
	require.Equal(t, "first", *s.Endpoints[0].Hostname)
	require.Empty(t, s.Ports)

	dual := service(func(s *corev1.Service) { s.Spec.IPFamilies = append(s.Spec.IPFamilies, corev1.IPv6Protocol) })
	both := pod(0, func(p *corev1.Pod) { p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: "fd00::1"}) })
	plan := planSlices(dual, groupsOf(dual, []*corev1.Pod{both}, zone), nil)
	require.Len(t, plan.create, 2)
	require.Equal(t, "fd00::1", plan.create[1].Endpoints[0].Addresses[0])

	near := service(func(s *corev1.Service) {
		distribution := corev1.ServiceTrafficDistributionPreferSameNode
		s.Spec.TrafficDistribution = &distribution
	})
	h := planSlices(near, groupsOf(near, pods(1), zone), nil).create[0].Endpoints[0].Hints
	require.Equal(t, &discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: "node-1"}}, ForZones: []discoveryv1.ForZone{{Name: "z1"}}}, h)

	gone := planSlices(service(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }), nil, plan.create)
	require.Len(t, gone.remove, 2)
}

// slicesOf carries plans out.
type slicesOf struct {
	all    []*discoveryv1.EndpointSlice
	writes int
	serial int
}

func (w *slicesOf) apply(p slicePlan) {
	for _, s := range p.create {
		w.serial++
		s.Name = fmt.Sprint("web-", w.serial)
		w.all = append(w.all, s)
	}
	for _, u := range p.update {
		for i, s := range w.all {
			if s.Name == u.Name {
				w.all[i] = u
			}
		}
	}
	for _, r := range p.remove {
		w.all = slices.DeleteFunc(w.all, func(s *discoveryv1.EndpointSlice) bool { return s.Name == r.Name })
	}
	w.writes += len(p.create) + len(p.update) + len(p.remove)
}

func TestFewWrites(t *testing.T) {
	w := &slicesOf{}
	svc := service(nil)
	change := func(list []*corev1.Pod) int {
		before := w.writes
		w.apply(planSlices(svc, groupsOf(svc, list, zone), w.all))
		return w.writes - before
	}
	list := pods(450)
	require.Equal(t, 5, change(list))
	require.Equal(t, 0, change(list))
	list[7] = pod(7, unready)
	require.Equal(t, 1, change(list))
	list = append(list, pod(450, nil), pod(451, nil))
	require.Equal(t, 1, change(list), "what is new goes where there is room")
	list = slices.Delete(list, 300, 301)
	list = append(list, pod(452, nil))
	require.Equal(t, 1, change(list), "what is new goes where something changes anyway")
	require.Equal(t, 5, change(nil))
	require.Len(t, w.all, 1)
	require.Equal(t, 1, change(list[:1]))
}

func TestRandomChangesConverge(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := &slicesOf{}
		for range 20 {
			var list []*corev1.Pod
			for n := range rng.IntN(400) {
				if rng.IntN(3) > 0 {
					list = append(list, pod(n, map[int]func(*corev1.Pod){0: unready, 1: terminating}[rng.IntN(4)]))
				}
			}
			svc := service(func(s *corev1.Service) {
				if rng.IntN(4) == 0 {
					s.Spec.Ports[0].TargetPort = intstr.FromInt32(int32(8000 + rng.IntN(2)))
				}
			})
			if rng.IntN(3) == 0 && len(w.all) > 0 { // a double, as a stale reader may have made it
				double := w.all[0].DeepCopy()
				w.serial++
				double.Name = fmt.Sprint("double-", w.serial)
				w.all = append(w.all, double)
			}
			w.apply(planSlices(svc, groupsOf(svc, list, zone), w.all))
			p := planSlices(svc, groupsOf(svc, list, zone), w.all)
			require.Zero(t, len(p.create)+len(p.update)+len(p.remove), "seed %d: one plan is enough", seed)
			seen := map[types.UID]bool{}
			for _, s := range w.all {
				require.LessOrEqual(t, len(s.Endpoints), MaxPerSlice)
				for _, e := range s.Endpoints {
					require.False(t, seen[e.TargetRef.UID])
					seen[e.TargetRef.UID] = true
				}
			}
			require.Len(t, seen, len(list))
		}
	}
}

func TestLegacyEndpoints(t *testing.T) {
	svc := service(nil)
	e := planLegacy(svc, []*corev1.Pod{pod(2, nil), pod(0, nil), pod(1, unready), pod(3, terminating)}, nil)
	require.Equal(t, "web", e.Name)
	require.Len(t, e.Subsets, 1)
	require.Equal(t, []string{"10.244.0.1", "10.244.0.3"}, []string{e.Subsets[0].Addresses[0].IP, e.Subsets[0].Addresses[1].IP})
	require.Equal(t, "10.244.0.2", e.Subsets[0].NotReadyAddresses[0].IP)
	require.Equal(t, corev1.EndpointPort{Name: "http", Port: 8080, Protocol: corev1.ProtocolTCP}, e.Subsets[0].Ports[0])
	require.Nil(t, planLegacy(svc, []*corev1.Pod{pod(0, nil), pod(1, unready), pod(2, nil)}, e))

	many := planLegacy(svc, append(pods(1100), pod(5000, unready)), nil)
	require.Len(t, many.Subsets[0].Addresses, maxLegacy)
	require.Empty(t, many.Subsets[0].NotReadyAddresses)
	require.Equal(t, "truncated", many.Annotations[corev1.EndpointsOverCapacity])
	require.NotContains(t, planLegacy(svc, pods(1), many).Annotations, corev1.EndpointsOverCapacity)
	require.NotNil(t, planLegacy(svc, nil, nil), "a service without pods has empty Endpoints")
}
