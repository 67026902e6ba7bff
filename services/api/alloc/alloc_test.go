package alloc_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/alloc"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/store"
)

func service(name string, change func(*corev1.ServiceSpec)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"a": "b"}, Ports: []corev1.ServicePort{{Port: 80}},
	}}
	if change != nil {
		change(&s.Spec)
	}
	return s
}

func small(c *api.Config) {
	c.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/26")}
	c.NodePorts = alloc.PortRange{First: 30000, Last: 30019}
}

func TestAddressesAreUniqueUnderConcurrentCreates(t *testing.T) {
	c := apitest.Start(t, small)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	var mu sync.Mutex
	seen := map[string]bool{}
	full := 0
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 10 {
				s := service(fmt.Sprintf("s-%d-%d", w, i), nil)
				err := cl.Create(ctx, s)
				mu.Lock()
				if err != nil {
					if !strings.Contains(err.Error(), "range is full") {
						t.Errorf("create: %v", err)
					}
					full++
				} else if seen[s.Spec.ClusterIP] {
					t.Errorf("%s was given twice", s.Spec.ClusterIP)
				} else {
					seen[s.Spec.ClusterIP] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	// 62 usable addresses, of which the API's own Service has one.
	require.Equal(t, 61, len(seen))
	require.Equal(t, 19, full)

	list := &corev1.ServiceList{}
	require.NoError(t, cl.List(ctx, list, client.ListOptions{Namespace: "default"}))
	for i := range list.Items {
		if list.Items[i].Name != "kubernetes" {
			require.NoError(t, cl.Delete(ctx, &list.Items[i], client.DeleteOptions{}))
		}
	}
	kvs, _, err := c.Store.List(ctx, alloc.Prefix, store.ListOptions{})
	require.NoError(t, err)
	require.Len(t, kvs, 1, "what is deleted is free again")
	require.NoError(t, cl.Create(ctx, service("again", nil)))
}

func TestAskedByName(t *testing.T) {
	c := apitest.Start(t, small)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	ip := func(ip string) func(*corev1.ServiceSpec) {
		return func(s *corev1.ServiceSpec) { s.ClusterIP = ip }
	}
	nodePort := func(port int32) func(*corev1.ServiceSpec) {
		return func(s *corev1.ServiceSpec) { s.Type, s.Ports[0].NodePort = corev1.ServiceTypeNodePort, port }
	}
	require.NoError(t, cl.Create(ctx, service("dns", ip("10.96.0.10"))))
	require.NoError(t, cl.Create(ctx, service("headless", ip("None"))))
	require.NoError(t, cl.Create(ctx, service("np", nodePort(30007))))
	for _, bad := range []struct {
		change func(*corev1.ServiceSpec)
		text   string
	}{
		{ip("10.96.0.10"), `spec.clusterIPs: Invalid value: ["10.96.0.10"]: failed to allocate IP 10.96.0.10: provided IP is already allocated`},
		{ip("10.97.0.1"), `failed to allocate IP 10.97.0.1: the provided IP (10.97.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/26`},
		{nodePort(30007), `spec.ports[0].nodePort: Invalid value: 30007: provided port is already allocated`},
		{nodePort(80), `spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-30019`},
	} {
		require.ErrorContains(t, cl.Create(ctx, service("bad", bad.change)), bad.text)
	}
}

func TestUpdatesReserveAndRelease(t *testing.T) {
	c := apitest.Start(t, small)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	s := service("web", func(s *corev1.ServiceSpec) {
		s.Ports = []corev1.ServicePort{{Name: "t", Port: 80}, {Name: "u", Port: 80, Protocol: corev1.ProtocolUDP}}
	})
	require.NoError(t, cl.Create(ctx, s))
	was := s.Spec.ClusterIP
	s.Spec.Type = corev1.ServiceTypeNodePort
	require.NoError(t, cl.Update(ctx, s))
	require.Equal(t, was, s.Spec.ClusterIP)
	require.NotZero(t, s.Spec.Ports[0].NodePort)
	require.Equal(t, s.Spec.Ports[0].NodePort, s.Spec.Ports[1].NodePort)
	reserved := func() int {
		kvs, _, err := c.Store.List(ctx, alloc.Prefix+"nodeports/", store.ListOptions{})
		require.NoError(t, err)
		return len(kvs)
	}
	require.Equal(t, 1, reserved())
	s.Spec.Type = corev1.ServiceTypeClusterIP
	for i := range s.Spec.Ports {
		s.Spec.Ports[i].NodePort = 0
	}
	require.NoError(t, cl.Update(ctx, s))
	require.Equal(t, 0, reserved())
	require.NoError(t, cl.Delete(ctx, s, client.DeleteOptions{}))
}
