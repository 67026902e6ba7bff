package network

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/services/api/apitest"
)

// controllers is who the service is.
var controllers = identity.User{Name: identity.UserControllers}

type cluster struct {
	*testing.T
	*client.Client
	nodes  *informer.Informer[*corev1.Node]
	slices *informer.Informer[*discoveryv1.EndpointSlice]
	legacy *informer.Informer[*corev1.Endpoints]
	// writes counts the changes of slices.
	mu     sync.Mutex
	writes int
}

func start(t *testing.T, cidr string) *cluster {
	t.Helper()
	api := apitest.Start(t)
	c := &cluster{T: t, Client: api.Client(apitest.Admin)}
	own := client.New(api.Conn(controllers), "network")
	recorder := events.New(own, "network", "", zap.NewNop())
	var service *Service
	api.Informers(controllers, func(set *informer.Set) {
		var err error
		service, err = New(Config{Client: own, Informers: set, Events: recorder, Logger: zap.NewNop(), ClusterCIDR: netip.MustParsePrefix(cidr)})
		require.NoError(t, err)
		c.nodes, c.slices, c.legacy = informer.For[*corev1.Node](set), informer.For[*discoveryv1.EndpointSlice](set), informer.For[*corev1.Endpoints](set)
		c.slices.OnChange(func(_, _ *discoveryv1.EndpointSlice) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.writes++
		})
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{recorder.Run, service.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("service failed: %v", err)
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return c
}

func (c *cluster) eventually(what string, fn func() bool) {
	c.Helper()
	require.Eventually(c.T, fn, 30*time.Second, 5*time.Millisecond, what)
}

func (c *cluster) node(name string) {
	c.Helper()
	require.NoError(c.T, c.Create(c.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}))
}

func (c *cluster) pod(name string) *corev1.Pod {
	c.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "app", Image: "one"}}},
	}
	require.NoError(c.T, c.Create(c.Context(), p))
	return p
}

func (c *cluster) running(p *corev1.Pod, ip string) {
	c.Helper()
	p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	require.NoError(c.T, c.UpdateStatus(c.Context(), p))
}

// endpoints returns how many endpoints are listed and how many of them are ready.
func (c *cluster) endpoints() (all, ready int) {
	for _, s := range c.slices.List("default", nil) {
		for _, e := range s.Endpoints {
			all++
			if *e.Conditions.Ready {
				ready++
			}
		}
	}
	return all, ready
}

func web() *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
	}}
}

func TestEveryNodeGetsItsRangeAndItIsUsedAgain(t *testing.T) {
	c := start(t, "10.7.0.0/22")
	for n := range 5 {
		c.node(fmt.Sprint("node-", n))
	}
	given := func() map[string]string {
		out := map[string]string{}
		for _, n := range c.nodes.List("", nil) {
			if n.Spec.PodCIDR != "" {
				out[n.Spec.PodCIDR] = n.Name
				require.Equal(t, []string{n.Spec.PodCIDR}, n.Spec.PodCIDRs)
			}
		}
		return out
	}
	c.eventually("four ranges given, all different", func() bool { return len(given()) == 4 })
	c.eventually("the fifth is told", func() bool {
		list := &corev1.EventList{}
		require.NoError(t, c.List(t.Context(), list, client.ListOptions{}))
		return len(list.Items) == 1 && list.Items[0].Reason == "CIDRNotAvailable"
	})
	freed := "10.7.2.0/24"
	require.NoError(t, c.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: given()[freed]}}, client.DeleteOptions{}))
	c.eventually("the freed range is given to who waits", func() bool { return len(given()) == 4 && given()[freed] != "" })
}

func TestAServicesEndpointsFollowItsPods(t *testing.T) {
	c := start(t, "10.7.0.0/16")
	c.node("node-1")
	svc := web()
	require.NoError(t, c.Create(t.Context(), svc))
	c.eventually("an empty slice", func() bool { return c.slices.Len() == 1 })
	first, second := c.pod("web-1"), c.pod("web-2")
	c.running(first, "10.7.0.2")
	c.running(second, "10.7.0.3")
	ready := func(n int) func() bool {
		return func() bool {
			_, ready := c.endpoints()
			e, ok := c.legacy.Get("default", "web")
			return ready == n && ok && len(e.Subsets) == 1 && len(e.Subsets[0].Addresses) == n
		}
	}
	c.eventually("two endpoints", ready(2))
	require.NoError(t, c.Delete(t.Context(), first.DeepCopy(), client.DeleteOptions{}))
	c.eventually("one terminating", func() bool { all, ready := c.endpoints(); return all == 2 && ready == 1 })
	now := int64(0)
	require.NoError(t, c.Delete(t.Context(), first.DeepCopy(), client.DeleteOptions{GracePeriodSeconds: &now}))
	c.eventually("one endpoint", ready(1))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-2"}}
	require.NoError(t, c.Patch(t.Context(), pod, types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"other"}}}`), ""))
	c.eventually("none", func() bool { all, _ := c.endpoints(); return all == 0 })
	slice := c.slices.List("default", nil)[0]
	require.NoError(t, c.Delete(t.Context(), slice.DeepCopy(), client.DeleteOptions{}))
	c.eventually("the slice is back", func() bool {
		all := c.slices.List("default", nil)
		return len(all) == 1 && all[0].UID != slice.UID
	})
	require.NoError(t, c.Delete(t.Context(), svc, client.DeleteOptions{}))
	c.eventually("nothing stays", func() bool { return c.slices.Len() == 0 && c.legacy.Len() == 0 })
}

func TestEndpointsOfServicesWithoutSelectorAreLeftAlone(t *testing.T) {
	c := start(t, "10.7.0.0/16")
	svc := web()
	svc.Spec.Selector = nil
	require.NoError(t, c.Create(t.Context(), svc))
	own := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: "192.168.1.1"}}, Ports: []corev1.EndpointPort{{Port: 80}},
	}}}
	require.NoError(t, c.Create(t.Context(), own))
	other := web()
	other.Name = "other"
	require.NoError(t, c.Create(t.Context(), other))
	c.eventually("the other one is done", func() bool { _, ok := c.legacy.Get("default", "other"); return ok && c.slices.Len() == 2 })
	got := &corev1.Endpoints{}
	require.NoError(t, c.Get(t.Context(), got, "default", "web"))
	require.Equal(t, own.Subsets, got.Subsets)
}

func TestARolloutOfManyPodsIsFewWrites(t *testing.T) {
	c := start(t, "10.7.0.0/16")
	c.node("node-1")
	require.NoError(t, c.Create(t.Context(), web()))
	const pods = 300
	for n := range pods {
		c.running(c.pod(fmt.Sprint("web-", n)), fmt.Sprintf("10.7.%d.%d", n/200, n%200+2))
	}
	c.eventually("all ready", func() bool { all, ready := c.endpoints(); return all == pods && ready == pods })
	c.mu.Lock()
	defer c.mu.Unlock()
	t.Logf("%d pods, %d writes of slices", pods, c.writes)
	require.Less(t, c.writes, pods/3)
}

// TestEndpointsByHandAreMirrored: the dataplanes see what somebody writes into Endpoints for a Service without a selector.
func TestEndpointsByHandAreMirrored(t *testing.T) {
	c := start(t, "10.7.0.0/16")
	service := web()
	service.Name, service.Spec.Selector = "database", nil
	require.NoError(t, c.Create(t.Context(), service))
	byHand := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "database"}, Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: "192.0.2.7"}, {IP: "2001:db8::7"}}, NotReadyAddresses: []corev1.EndpointAddress{{IP: "192.0.2.8"}},
		Ports: []corev1.EndpointPort{{Port: 5432}},
	}}}
	require.NoError(t, c.Create(t.Context(), byHand))
	listed := func(all, ready int) func() bool {
		return func() bool { a, r := c.endpoints(); return a == all && r == ready }
	}
	c.eventually("three are listed, two of them ready", listed(3, 2))
	slice, ok := c.slices.Get("default", "database-v4-0")
	require.True(t, ok)
	require.Equal(t, "database", slice.Labels[discoveryv1.LabelServiceName])
	require.EqualValues(t, 5432, *slice.Ports[0].Port)

	require.NoError(t, c.Delete(t.Context(), slice.DeepCopy(), client.DeleteOptions{}))
	c.eventually("a slice that somebody deletes comes back", func() bool {
		s, ok := c.slices.Get("default", "database-v4-0")
		return ok && s.UID != slice.UID
	})
	byHand.Subsets[0].Addresses = byHand.Subsets[0].Addresses[:1]
	require.NoError(t, c.Update(t.Context(), byHand))
	c.eventually("the other family is gone", listed(2, 1))

	service.Spec.Selector = map[string]string{"app": "database"}
	require.NoError(t, c.Update(t.Context(), service))
	c.eventually("with a selector nothing is mirrored", listed(0, 0))
}
