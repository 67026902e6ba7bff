package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"karve.dev/karve/agents/proxy/dataplane"
)

func ptr[T any](v T) *T { return &v }

// cluster has a Service, a headless one with and without hostnames, and an external name.
func cluster(t *testing.T, resolvers string) *Server {
	s, err := New(Config{Domain: "cluster.local", Resolvers: resolvers, Reverse: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	require.NoError(t, err)
	key := func(name string) dataplane.ServiceKey { return dataplane.ServiceKey{Namespace: "default", Name: name} }
	http := corev1.ServicePort{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}
	s.SetService(key("web"), &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1", "fd00::1"}, Ports: []corev1.ServicePort{http}}}, nil)
	s.SetService(key("db"), &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "None", Ports: []corev1.ServicePort{http}}}, []*discoveryv1.EndpointSlice{{
		Ports: []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr(int32(8080)), Protocol: ptr(corev1.ProtocolTCP)}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.1.0.1"}, Hostname: ptr("db-0")},
			{Addresses: []string{"10.1.0.2"}},
			{Addresses: []string{"10.1.0.3"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr(false)}},
		},
	}})
	s.SetService(key("empty"), &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "None"}}, nil)
	s.SetService(key("out"), &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"}}, nil)
	s.SetService(key("alias"), &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "web.default.svc.cluster.local"}}, nil)
	s.SetSynced()
	return s
}

func TestNamesOfTheSpecification(t *testing.T) {
	s := cluster(t, "/nonexistent")
	for _, c := range []struct {
		name  string
		qtype uint16
		rcode int
		want  string
	}{
		{"web.default.svc.cluster.local.", dns.TypeA, 0, "A 10.96.0.1"},
		{"WEB.default.svc.cluster.local.", dns.TypeA, 0, "A 10.96.0.1"},
		{"web.default.svc.cluster.local.", dns.TypeAAAA, 0, "AAAA fd00::1"},
		{"web.default.svc.cluster.local.", dns.TypeMX, 0, ""},
		{"_http._tcp.web.default.svc.cluster.local.", dns.TypeSRV, 0, "SRV 0 100 80 web.default.svc.cluster.local."},
		{"_https._tcp.web.default.svc.cluster.local.", dns.TypeSRV, dns.RcodeNameError, ""},
		{"_http._tcp.db.default.svc.cluster.local.", dns.TypeSRV, 0, "SRV 0 100 8080 10-1-0-2.db.default.svc.cluster.local., SRV 0 100 8080 db-0.db.default.svc.cluster.local."},
		{"db.default.svc.cluster.local.", dns.TypeA, 0, "A 10.1.0.1, A 10.1.0.2"},
		{"db-0.db.default.svc.cluster.local.", dns.TypeA, 0, "A 10.1.0.1"},
		{"10-1-0-2.db.default.svc.cluster.local.", dns.TypeA, 0, "A 10.1.0.2"},
		{"db-1.db.default.svc.cluster.local.", dns.TypeA, dns.RcodeNameError, ""},
		{"empty.default.svc.cluster.local.", dns.TypeA, 0, ""},
		{"alias.default.svc.cluster.local.", dns.TypeA, 0, "A 10.96.0.1, CNAME web.default.svc.cluster.local."},
		{"10-1-0-9.default.pod.cluster.local.", dns.TypeA, 0, "A 10.1.0.9"},
		{"1.0.96.10.in-addr.arpa.", dns.TypePTR, 0, "PTR web.default.svc.cluster.local."},
		{"1.0.1.10.in-addr.arpa.", dns.TypePTR, 0, "PTR db-0.db.default.svc.cluster.local."},
		{"9.9.9.10.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, ""},
		{"dns-version.cluster.local.", dns.TypeTXT, 0, `TXT "1.1.0"`},
		{"default.svc.cluster.local.", dns.TypeA, 0, ""},
		{"other.svc.cluster.local.", dns.TypeA, dns.RcodeNameError, ""},
		{"nobody.default.svc.cluster.local.", dns.TypeA, dns.RcodeNameError, ""},
		{"example.com.default.svc.cluster.local.", dns.TypeA, dns.RcodeNameError, ""},
		{"web.default.svc.cluster.local.cluster.local.", dns.TypeA, dns.RcodeNameError, ""},
	} {
		got, source := s.respond(new(dns.Msg).SetQuestion(c.name, c.qtype), false)
		require.Equal(t, fromCluster, source, c.name)
		require.Equal(t, dns.RcodeToString[c.rcode], dns.RcodeToString[got.Rcode], c.name)
		require.Equal(t, c.want, texts(got.Answer), "%s %s", c.name, dns.TypeToString[c.qtype])
		if len(got.Answer) == 0 {
			require.Len(t, got.Ns, 1, "%s: clients may remember that there is nothing", c.name)
		} else {
			require.Equal(t, c.name, got.Answer[0].Header().Name, "the name comes back as it was asked")
		}
	}
}

// texts writes records without what all of them share.
func texts(records []dns.RR) string {
	var out []string
	for _, rr := range records {
		fields := strings.Fields(rr.String())
		out = append(out, strings.Join(fields[3:], " "))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func TestUntilEverythingIsKnownClientsTryAgain(t *testing.T) {
	s, err := New(Config{})
	require.NoError(t, err)
	got, _ := s.respond(new(dns.Msg).SetQuestion("web.default.svc.cluster.local.", dns.TypeA), false)
	require.Equal(t, dns.RcodeServerFailure, got.Rcode)
}

func TestRemovedServiceHasNoNames(t *testing.T) {
	s := cluster(t, "/nonexistent")
	s.SetService(dataplane.ServiceKey{Namespace: "default", Name: "web"}, nil, nil)
	for _, q := range []*dns.Msg{new(dns.Msg).SetQuestion("web.default.svc.cluster.local.", dns.TypeA), new(dns.Msg).SetQuestion("1.0.96.10.in-addr.arpa.", dns.TypePTR)} {
		got, _ := s.respond(q, false)
		require.Equal(t, dns.RcodeNameError, got.Rcode)
	}
}

// upstream is a resolver that knows example.com, a large answer, and nothing else.
func upstream(t *testing.T) (resolvers string, asked *atomic.Int32) {
	asked = &atomic.Int32{}
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		asked.Add(1)
		m := new(dns.Msg).SetReply(r)
		if r.Question[0].Name == "example.com." {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: "example.com.", Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 1)})
		} else {
			m.Rcode = dns.RcodeNameError
			m.Ns = append(m.Ns, &dns.SOA{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60}, Ns: ".", Mbox: ".", Minttl: 60})
		}
		_ = w.WriteMsg(m)
	})
	server := &dns.Server{PacketConn: packets, Handler: handler}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	t.Cleanup(func() { _ = packets.Close(); <-done })
	_, port, _ := net.SplitHostPort(packets.LocalAddr().String())
	return port, asked
}

func TestOtherNamesComeFromTheHostsResolvers(t *testing.T) {
	port, asked := upstream(t)
	file := filepath.Join(t.TempDir(), "resolv.conf")
	require.NoError(t, os.WriteFile(file, []byte("nameserver 127.0.0.1\n"), 0o600))
	s := cluster(t, file)
	s.forward.servers, s.forward.checked = []string{"127.0.0.1:" + port}, time.Now().Add(time.Hour)

	for range 3 {
		got, _ := s.respond(new(dns.Msg).SetQuestion("example.com.", dns.TypeA), false)
		require.Equal(t, "A 192.0.2.1", texts(got.Answer))
		got, _ = s.respond(new(dns.Msg).SetQuestion("nowhere.example.", dns.TypeA), false)
		require.Equal(t, dns.RcodeNameError, got.Rcode)
	}
	require.EqualValues(t, 2, asked.Load(), "asked once each, remembered then")

	got, _ := s.respond(new(dns.Msg).SetQuestion("out.default.svc.cluster.local.", dns.TypeA), false)
	require.Equal(t, "A 192.0.2.1, CNAME example.com.", texts(got.Answer))
}

func TestResolversAreReadFromTheFileAndNeverLeadBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	require.NoError(t, os.WriteFile(file, []byte("nameserver 10.96.0.10\nnameserver 192.0.2.53\n"), 0o600))
	f := newForwarder(Config{Resolvers: file, NotUpstream: []netip.Addr{netip.MustParseAddr("10.96.0.10")}})
	require.Equal(t, []string{"192.0.2.53:53"}, f.upstreams())
}

func TestLargeAnswersGoOverTCP(t *testing.T) {
	s := cluster(t, "/nonexistent")
	var eps []discoveryv1.Endpoint
	for i := range 200 {
		eps = append(eps, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.2.0.%d", i)}})
	}
	s.SetService(dataplane.ServiceKey{Namespace: "default", Name: "many"}, &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "None"}}, []*discoveryv1.EndpointSlice{{Endpoints: eps}})
	probe, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	address := netip.MustParseAddrPort(probe.LocalAddr().String())
	require.NoError(t, probe.Close())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, []netip.AddrPort{address}) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })

	query := new(dns.Msg).SetQuestion("many.default.svc.cluster.local.", dns.TypeA)
	var got *dns.Msg
	require.Eventually(t, func() bool {
		got, _, err = (&dns.Client{}).Exchange(query, address.String())
		return err == nil
	}, 5*time.Second, 10*time.Millisecond)
	require.True(t, got.Truncated)
	require.Less(t, len(got.Answer), 40)
	got, _, err = (&dns.Client{Net: "tcp"}).Exchange(query, address.String())
	require.NoError(t, err)
	require.Len(t, got.Answer, 200)
}

func BenchmarkClusterName(b *testing.B) {
	s, err := New(Config{})
	require.NoError(b, err)
	for i := range 1000 {
		s.SetService(dataplane.ServiceKey{Namespace: "default", Name: fmt.Sprint("svc", i)}, &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1"}}, nil)
	}
	s.SetSynced()
	query := new(dns.Msg).SetQuestion("svc7.default.svc.cluster.local.", dns.TypeA)
	b.ReportAllocs()
	for b.Loop() {
		s.respond(query, false)
	}
}
