package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/proxy/dataplane"
	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/clusterdns"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
)

// controlPlane is an AssignmentService whose stream the test drives.
type controlPlane struct {
	nodev1.UnimplementedAssignmentServiceServer
	hellos chan *nodev1.Hello
	acks   chan *nodev1.Acknowledgement
	send   chan *nodev1.StreamResponse
	hangUp chan struct{}
}

func (c *controlPlane) Stream(stream nodev1.AssignmentService_StreamServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	c.hellos <- first.GetHello()
	go func() {
		for {
			msg, err := stream.Recv()
			if err != nil {
				return
			}
			c.acks <- msg.GetAck()
		}
	}()
	for {
		select {
		case msg := <-c.send:
			if err := stream.Send(msg); err != nil {
				return err
			}
		case <-c.hangUp:
			return errors.New("connection lost")
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// recorder is a dataplane that remembers what it is told.
type recorder struct {
	mu     sync.Mutex
	states []dataplane.State
	fail   error
}

func (r *recorder) Apply(_ context.Context, s dataplane.State) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states = append(r.states, s)
	return r.fail
}

func (r *recorder) Maintain(context.Context) (time.Duration, error) { return time.Hour, nil }
func (r *recorder) Close() error                                    { return nil }

func (r *recorder) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

func (r *recorder) applied() []dataplane.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.states
}

func (r *recorder) last() dataplane.State {
	s := r.applied()
	if len(s) == 0 {
		return dataplane.State{}
	}
	return s[len(s)-1]
}

type harness struct {
	*testing.T
	*controlPlane
	plane *recorder
}

// start runs a proxy against a control plane that the test plays.
func start(t *testing.T, change ...func(*Config)) *harness {
	c := &controlPlane{hellos: make(chan *nodev1.Hello, 4), acks: make(chan *nodev1.Acknowledgement, 64), send: make(chan *nodev1.StreamResponse), hangUp: make(chan struct{})}
	server := transport.NewServer(nil, nil)
	nodev1.RegisterAssignmentServiceServer(server, c)
	h := &harness{T: t, controlPlane: c, plane: &recorder{}}
	config := Config{Cluster: "c", NodeName: "n1", Conn: server.Conn(identity.User{Name: "system:node:n1"})}
	for _, fn := range change {
		fn(&config)
	}
	p, err := New(config)
	require.NoError(t, err)
	p.backend = backend{name: "recorder", open: func(context.Context, options) (dataplane.Dataplane, error) { return h.plane, nil }}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	hello := <-c.hellos
	require.Equal(t, nodev1.Scope_SCOPE_SERVICES, hello.Scope)
	require.Equal(t, "n1", hello.Node)
	return h
}

type object interface {
	metav1.Object
	Marshal() ([]byte, error)
}

func set(t *testing.T, kind string, revision int64, o object) *nodev1.Change {
	data, err := o.Marshal()
	require.NoError(t, err)
	return &nodev1.Change{Op: nodev1.Change_OP_SET, Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), Object: data, Revision: revision}
}

func clusterService(name, ip string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{
		ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
	}}
}

func sliceOf(svc string, addresses ...string) *discoveryv1.EndpointSlice {
	name, port, protocol := "", int32(8080), corev1.ProtocolTCP
	out := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: svc + "-x", Labels: map[string]string{discoveryv1.LabelServiceName: svc}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}
	for _, a := range addresses {
		out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	return out
}

func (h *harness) ack() *nodev1.Acknowledgement {
	h.Helper()
	select {
	case a := <-h.acks:
		return a
	case <-time.After(5 * time.Second):
		h.Fatal("no acknowledgement")
		return nil
	}
}

func TestSnapshotIsProgrammedWholeAndAcknowledged(t *testing.T) {
	h := start(t)
	h.send <- &nodev1.StreamResponse{Revision: 5, Changes: []*nodev1.Change{set(t, "Service", 3, clusterService("web", "10.96.0.1"))}}
	h.send <- &nodev1.StreamResponse{Revision: 5, SnapshotComplete: true, Changes: []*nodev1.Change{set(t, "EndpointSlice", 4, sliceOf("web", "10.0.0.1"))}}
	ack := h.ack()
	require.EqualValues(t, 5, ack.Revision)
	require.Len(t, ack.Services, 1)
	require.EqualValues(t, 4, ack.Services[0].Revision)
	require.Len(t, h.plane.applied(), 1, "nothing is programmed from half a snapshot")
	require.Equal(t, netip.MustParseAddrPort("10.0.0.1:8080"), h.plane.last().Servers[0].Endpoints[0].Addr)

	h.send <- &nodev1.StreamResponse{Revision: 9, Changes: []*nodev1.Change{set(t, "EndpointSlice", 9, sliceOf("web", "10.0.0.1", "10.0.0.2"))}}
	ack = h.ack()
	require.EqualValues(t, 9, ack.Services[0].Revision)
	require.Len(t, h.plane.last().Servers[0].Endpoints, 2)
}

func TestBurstsAreProgrammedTogether(t *testing.T) {
	h := start(t)
	h.send <- &nodev1.StreamResponse{Revision: 1, SnapshotComplete: true}
	h.ack()
	for i := range int64(200) {
		h.send <- &nodev1.StreamResponse{Revision: 2 + i, Changes: []*nodev1.Change{set(t, "Service", 2+i, clusterService("web", "10.96.0.1"))}}
	}
	for h.ack().Revision != 201 {
	}
	require.Less(t, len(h.plane.applied()), 40)
}

func TestReconnectRemovesWhatIsGoneOnlyOnceTheSnapshotIsWhole(t *testing.T) {
	h := start(t)
	h.send <- &nodev1.StreamResponse{Revision: 5, SnapshotComplete: true, Changes: []*nodev1.Change{
		set(t, "Service", 3, clusterService("web", "10.96.0.1")), set(t, "Service", 4, clusterService("old", "10.96.0.2")),
	}}
	h.ack()
	h.hangUp <- struct{}{}
	<-h.hellos
	h.send <- &nodev1.StreamResponse{Revision: 8, Changes: []*nodev1.Change{set(t, "Service", 3, clusterService("web", "10.96.0.1"))}}
	require.Eventually(t, func() bool { return len(h.plane.applied()) > 1 }, 5*time.Second, 5*time.Millisecond)
	require.Len(t, h.plane.last().Servers, 2)
	h.send <- &nodev1.StreamResponse{Revision: 8, SnapshotComplete: true}
	ack := h.ack()
	require.EqualValues(t, 8, ack.Revision)
	require.Len(t, ack.Services, 1, "a new stream hears of everything")
	require.Len(t, h.plane.last().Servers, 1)
}

func TestFailureIsReportedPerServiceAndTriedAgain(t *testing.T) {
	h := start(t)
	bad := dataplane.ServiceKey{Namespace: "default", Name: "bad"}
	h.plane.set(&dataplane.ServerError{Server: "default/bad:80/TCP/4", Service: bad, Err: errors.New("no room")})
	h.send <- &nodev1.StreamResponse{Revision: 5, SnapshotComplete: true, Changes: []*nodev1.Change{
		set(t, "Service", 3, clusterService("good", "10.96.0.1")), set(t, "Service", 4, clusterService("bad", "10.96.0.2")),
	}}
	got := map[string]string{}
	for _, s := range h.ack().Services {
		got[s.Name] = s.Error
	}
	require.Equal(t, map[string]string{"good": "", "bad": "default/bad:80/TCP/4: no room"}, got)
	h.plane.set(nil)
	ack := h.ack()
	require.Len(t, ack.Services, 1)
	require.Empty(t, ack.Services[0].Error)
}

func TestNodeAnswersClusterDNS(t *testing.T) {
	probe, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	listen := netip.MustParseAddrPort(probe.LocalAddr().String())
	require.NoError(t, probe.Close())
	ip := netip.MustParseAddr("10.96.0.10")
	h := start(t, func(c *Config) { c.DNS = &DNSConfig{ClusterIP: ip, Listen: []netip.AddrPort{listen}} })
	dns := clusterService("kube-dns", ip.String())
	dns.Spec.Ports = []corev1.ServicePort{{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53}, {Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 53}}
	server := func(name, managedBy, address string) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: dns.Namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: dns.Name, discoveryv1.LabelManagedBy: managedBy}},
			AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}}},
		}
		for i := range dns.Spec.Ports {
			p := &dns.Spec.Ports[i]
			s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: &p.Port})
		}
		return s
	}
	balanced := func() map[string]netip.AddrPort {
		out := map[string]netip.AddrPort{}
		for _, v := range h.plane.last().Servers {
			if len(v.Frontends) > 0 && v.Frontends[0].Addr == ip {
				out[v.Protocol.String()] = v.Endpoints[0].Addr
			}
		}
		return out
	}
	h.send <- &nodev1.StreamResponse{Revision: 5, SnapshotComplete: true, Changes: []*nodev1.Change{
		set(t, "Service", 3, clusterService("web", "10.96.0.1")), set(t, "Service", 4, dns), set(t, "EndpointSlice", 5, server("kube-dns", clusterdns.ManagedBy, "10.244.9.1")),
	}}
	require.Len(t, h.ack().Services, 2)
	require.Equal(t, map[string]netip.AddrPort{"UDP": listen, "TCP": listen}, balanced(), "the node asks itself, whatever servers other nodes have")
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, listen.String())
	}}
	require.Eventually(t, func() bool {
		got, err := resolver.LookupHost(t.Context(), "web.default.svc.cluster.local.")
		return err == nil && len(got) == 1 && got[0] == "10.96.0.1"
	}, 5*time.Second, 10*time.Millisecond)
	h.send <- &nodev1.StreamResponse{Revision: 6, Changes: []*nodev1.Change{set(t, "EndpointSlice", 6, server("kube-dns-pods", "endpointslice-controller.k8s.io", "10.244.0.7"))}}
	h.ack()
	pods := netip.MustParseAddrPort("10.244.0.7:53")
	require.Equal(t, map[string]netip.AddrPort{"UDP": pods, "TCP": pods}, balanced(), "a DNS that somebody installed goes first")
}

func TestUnknownBackendIsNamed(t *testing.T) {
	_, err := choose("iptables")
	require.ErrorContains(t, err, `no Service backend is called "iptables": choose auto or nftables`)
}
