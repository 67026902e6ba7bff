package scheduler_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	schedulerv1 "karve.dev/karve/gen/go/karve/scheduler/v1"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/scheduler"
)

// cluster is an API service with a scheduler and nobody else.
type cluster struct {
	t *testing.T
	*client.Client
	scheduler *scheduler.Scheduler
	pods      *informer.Informer[*corev1.Pod]
}

func start(t *testing.T) *cluster {
	api := apitest.Start(t)
	c := &cluster{t: t, Client: api.Client(apitest.Admin)}
	user := identity.User{Name: identity.UserScheduler}
	recorder := events.New(api.Client(user), "default-scheduler", "", zap.NewNop())
	api.Informers(apitest.Admin, func(set *informer.Set) {
		c.scheduler = scheduler.New(scheduler.Config{Client: api.Client(user), Informers: set, Events: recorder, Logger: zap.NewNop()})
		c.pods = informer.For[*corev1.Pod](set)
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{recorder.Run, c.scheduler.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return c
}

func (c *cluster) addNode(name, cpu string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	require.NoError(c.t, c.Create(c.t.Context(), n))
	n.Spec.Taints = nil // the one that new nodes get until they are ready
	require.NoError(c.t, c.Update(c.t.Context(), n))
	n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110")}
	require.NoError(c.t, c.UpdateStatus(c.t.Context(), n))
	return n
}

func (c *cluster) addPod(name, cpu string, changes ...func(*corev1.Pod)) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "x", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}}
	for _, change := range changes {
		change(p)
	}
	require.NoError(c.t, c.Create(c.t.Context(), p))
}

// eventually waits until check holds for the pod as the informer knows it.
func (c *cluster) eventually(pod string, check func(*corev1.Pod) bool) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		p, ok := c.pods.Get("default", pod)
		return ok && check(p)
	}, 20*time.Second, 5*time.Millisecond, pod)
}

func boundTo(node string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return p.Spec.NodeName == node }
}

func unschedulable(message string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled {
				return c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable && strings.HasPrefix(c.Message, message)
			}
		}
		return false
	}
}

func TestAPodWaitsForRoomAndSaysSo(t *testing.T) {
	c := start(t)
	c.addPod("first", "1")
	c.eventually("first", unschedulable("no nodes available to schedule pods"))
	c.addNode("n1", "1500m")
	c.eventually("first", boundTo("n1"))

	c.addPod("second", "1")
	c.eventually("second", unschedulable("0/1 nodes are available: 1 Insufficient cpu."))
	answer, err := c.scheduler.Explain(identity.WithPeer(t.Context(), apitest.Admin), &schedulerv1.ExplainRequest{Namespace: "default", Name: "second"})
	require.NoError(t, err)
	require.Len(t, answer.GetNodes(), 1)
	require.Equal(t, "fits if the cpu request is at most 500m", answer.GetNodes()[0].GetReasons()[0].GetCounterfactual())

	now := int64(0)
	require.NoError(t, c.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "first"}}, client.DeleteOptions{GracePeriodSeconds: &now}))
	c.eventually("second", boundTo("n1"))
}

func TestExplainIsForThoseWhoMayGetThePod(t *testing.T) {
	c := start(t)
	c.addPod("p", "1")
	c.eventually("p", func(*corev1.Pod) bool { return true })
	_, err := c.scheduler.Explain(identity.WithPeer(t.Context(), identity.User{Name: "nobody"}), &schedulerv1.ExplainRequest{Namespace: "default", Name: "p"})
	require.ErrorContains(t, err, `user "nobody" cannot get resource "pods"`)
}

// TestManyPodsFillNodesExactly: what is decided counts at once, also while bindings are still being written.
func TestManyPodsFillNodesExactly(t *testing.T) {
	c := start(t)
	const nodes, perNode = 5, 20
	for i := range nodes {
		c.addNode(fmt.Sprint("n", i), fmt.Sprint(perNode))
	}
	for i := range nodes * perNode {
		c.addPod(fmt.Sprint("p", i), "1")
	}
	count := map[string]int{}
	for i := range nodes * perNode {
		c.eventually(fmt.Sprint("p", i), func(p *corev1.Pod) bool { return p.Spec.NodeName != "" })
		p, _ := c.pods.Get("default", fmt.Sprint("p", i))
		count[p.Spec.NodeName]++
	}
	for node, n := range count {
		require.Equal(t, perNode, n, node)
	}
}
