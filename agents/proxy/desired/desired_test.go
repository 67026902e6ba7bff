package desired

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/proxy/dataplane"
)

func ptr[T any](v T) *T { return &v }

func svc(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"},
		Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.7", ClusterIPs: []string{"10.96.0.7"}, Ports: []corev1.ServicePort{
			{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, NodePort: 30080},
		}},
	}
	if change != nil {
		change(s)
	}
	return s
}

type ep struct {
	ip, node                   string
	ready, serving, terminates bool
}

func sliceOf(eps ...ep) []*discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{
		{Name: ptr("http"), Port: ptr(int32(8080)), Protocol: ptr(corev1.ProtocolTCP)},
	}}
	for _, e := range eps {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{e.ip}, NodeName: &e.node, Conditions: discoveryv1.EndpointConditions{
			Ready: &e.ready, Serving: &e.serving, Terminating: &e.terminates,
		}})
	}
	return []*discoveryv1.EndpointSlice{s}
}

var view = View{Node: "n1", OnHost: map[string]bool{"n1": true, "n1b": true}, Dead: map[string]bool{"dead": true}}

func ips(eps []dataplane.Endpoint) (out []string) {
	for _, e := range eps {
		out = append(out, e.Addr.Addr().String())
	}
	return out
}

func TestEndpoints(t *testing.T) {
	ready := func(ip, node string) ep { return ep{ip, node, true, true, false} }
	for name, c := range map[string]struct {
		eps        []ep
		all, local []string
		cut        int
	}{
		"ready ones only":                     {[]ep{ready("10.0.0.1", "n1"), {"10.0.0.2", "n1", false, false, false}}, []string{"10.0.0.1"}, []string{"10.0.0.1"}, 0},
		"going but serving while none ready":  {[]ep{{"10.0.0.1", "n1", false, true, true}, {"10.0.0.2", "n1", false, false, true}}, []string{"10.0.0.1"}, []string{"10.0.0.1"}, 0},
		"going is left out beside ready ones": {[]ep{{"10.0.0.1", "n2", false, true, true}, ready("10.0.0.2", "n1")}, []string{"10.0.0.2"}, []string{"10.0.0.2"}, 0},
		"local fallback is decided locally":   {[]ep{{"10.0.0.1", "n1", false, true, true}, ready("10.0.0.2", "n2")}, []string{"10.0.0.2"}, []string{"10.0.0.1"}, 0},
		"a dead node's are cut":               {[]ep{ready("10.0.0.1", "dead"), ready("10.0.0.2", "n2")}, []string{"10.0.0.2"}, nil, 1},
		"named twice counts once":             {[]ep{ready("10.0.0.1", "n2"), ready("10.0.0.1", "n2")}, []string{"10.0.0.1"}, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := svc(func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
			got := Service(view, s, sliceOf(c.eps...))
			require.Len(t, got, 1)
			require.Equal(t, c.all, ips(got[0].Endpoints))
			require.Equal(t, c.local, ips(got[0].LocalEndpoints))
			require.Len(t, got[0].Cut, c.cut)
		})
	}
}

func TestFrontends(t *testing.T) {
	s := svc(func(s *corev1.Service) {
		s.Spec.ExternalIPs = []string{"203.0.113.1"}
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{
			{IP: "203.0.113.2"}, {IP: "203.0.113.3", IPMode: ptr(corev1.LoadBalancerIPModeProxy)}, {Hostname: "lb.example"},
		}
	})
	got := Service(view, s, sliceOf(ep{"10.0.0.1", "n1b", true, true, false}))[0]
	require.Equal(t, "ns/web:http/TCP/4", got.Name)
	require.Equal(t, 3*time.Hour, got.Affinity)
	require.Equal(t, []dataplane.Frontend{
		{Kind: dataplane.ClusterIP, Addr: netip.MustParseAddr("10.96.0.7"), Port: 80},
		{Kind: dataplane.NodePort, Port: 30080, Local: true},
		{Kind: dataplane.External, Addr: netip.MustParseAddr("203.0.113.1"), Port: 80, Local: true},
		{Kind: dataplane.External, Addr: netip.MustParseAddr("203.0.113.2"), Port: 80, Local: true},
	}, got.Frontends)
	require.True(t, got.Endpoints[0].OnHost, "another node on this host")
	require.Empty(t, got.LocalEndpoints)
}

func TestServicesWithoutClusterIPHaveNoServers(t *testing.T) {
	require.Empty(t, Service(view, svc(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"} }), nil))
	require.Empty(t, Service(view, svc(func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ClusterIP, s.Spec.ClusterIPs = corev1.ServiceTypeExternalName, "", nil
	}), nil))
}

func TestDualStackServiceHasAServerInEachFamily(t *testing.T) {
	got := Service(view, svc(func(s *corev1.Service) { s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, "fd00::7") }), sliceOf(ep{"10.0.0.1", "n1", true, true, false}))
	require.Len(t, got, 2)
	require.Equal(t, "ns/web:http/TCP/6", got[1].Name)
	require.Empty(t, got[1].Endpoints)
}

func TestOneFrontendHasOneOwner(t *testing.T) {
	one := svc(func(s *corev1.Service) { s.Name = "b" })
	two := svc(func(s *corev1.Service) {
		s.Name = "a"
		s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.8", []string{"10.96.0.8"}
	})
	keyA, keyB := dataplane.ServiceKey{Namespace: "ns", Name: "a"}, dataplane.ServiceKey{Namespace: "ns", Name: "b"}
	merged, conflicts := Merge(map[dataplane.ServiceKey][]dataplane.VirtualServer{keyA: Service(view, two, nil), keyB: Service(view, one, nil)})
	require.Len(t, merged, 2)
	require.Nil(t, conflicts[keyA])
	require.EqualError(t, conflicts[keyB], "node port 30080 is taken by ns/a:http/TCP/4")
	for _, v := range merged {
		if v.Service == keyB {
			require.Len(t, v.Frontends, 1, "it keeps its cluster IP")
		}
	}
}

func TestLook(t *testing.T) {
	node := func(ip string, ready corev1.ConditionStatus) *corev1.Node {
		return &corev1.Node{Spec: corev1.NodeSpec{PodCIDR: "10.1.0.0/24"}, Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}},
		}}
	}
	v := Look("n1", map[string]*corev1.Node{
		"n1": node("1.1.1.1", corev1.ConditionUnknown), "n2": node("1.1.1.1", corev1.ConditionFalse), "n3": node("1.1.1.3", corev1.ConditionUnknown),
	})
	require.Equal(t, map[string]bool{"n3": true}, v.Dead, "a node never thinks itself dead")
	require.Equal(t, map[string]bool{"n1": true, "n2": true}, v.OnHost)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}, v.LocalPods)
	require.Len(t, v.HostPods, 2)
	require.True(t, v.onHost(netip.MustParseAddr("1.1.1.1")), "the host itself")
	require.True(t, v.onHost(netip.MustParseAddr("10.1.0.7")), "a pod of its")
	require.False(t, v.onHost(netip.MustParseAddr("1.1.1.3")))
}

func BenchmarkOneOfAThousandServices(b *testing.B) {
	eps := make([]ep, 10)
	for i := range eps {
		eps[i] = ep{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}).String(), "n1", true, true, false}
	}
	slices := sliceOf(eps...)
	all := map[dataplane.ServiceKey][]dataplane.VirtualServer{}
	for i := range 1000 {
		ip := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}).String()
		s := svc(func(s *corev1.Service) {
			s.Name, s.Spec.ClusterIP, s.Spec.ClusterIPs, s.Spec.Ports[0].NodePort = ip, ip, []string{ip}, int32(30000+i)
		})
		all[dataplane.ServiceKey{Namespace: "ns", Name: ip}] = Service(view, s, slices)
	}
	one := svc(nil)
	b.ReportAllocs()
	for b.Loop() {
		all[dataplane.ServiceKey{Namespace: "ns", Name: "10.96.0.7"}] = Service(view, one, slices)
		Merge(all)
	}
}
