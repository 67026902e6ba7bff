package replication

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/services/api/apitest"
)

// controllers is who the service is.
var controllers = identity.User{Name: identity.UserControllers}

// cluster is an API service with the replication service and a stand-in for nodes.
type cluster struct {
	*testing.T
	*client.Client
	api  *apitest.Cluster
	pods *informer.Informer[*corev1.Pod]
	sets *informer.Informer[*appsv1.ReplicaSet]
	deps *informer.Informer[*appsv1.Deployment]
	// asked is the generation of the last change.
	asked int64
}

func start(t *testing.T) *cluster {
	t.Helper()
	api := apitest.Start(t)
	c := &cluster{T: t, api: api, Client: api.Client(apitest.Admin)}
	own := client.New(api.Conn(controllers), "replication")
	recorder := events.New(own, "replication", "", zap.NewNop())
	nodes := newNodes(c.Client)
	var service *Service
	api.Informers(controllers, func(set *informer.Set) {
		service = New(Config{Client: own, Informers: set, Events: recorder, Logger: zap.NewNop()})
		c.pods, c.sets, c.deps = informer.For[*corev1.Pod](set), informer.For[*appsv1.ReplicaSet](set), informer.For[*appsv1.Deployment](set)
		c.pods.OnChange(nodes.changed)
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{recorder.Run, service.Run, nodes.run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("service failed: %v", err)
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return c
}

// nodes makes pods run, unless their image is "broken", and removes those that are told to stop. Pods whose image is a
// phase end at once.
type nodes struct {
	client *client.Client
	mu     sync.Mutex
	todo   map[informer.Key]*corev1.Pod
	wake   chan struct{}
}

func newNodes(c *client.Client) *nodes {
	return &nodes{client: c, todo: map[informer.Key]*corev1.Pod{}, wake: make(chan struct{}, 1)}
}

func (n *nodes) changed(_, p *corev1.Pod) {
	if p == nil {
		return
	}
	n.mu.Lock()
	n.todo[informer.KeyOf(p)] = p
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *nodes) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.wake:
		}
		n.mu.Lock()
		todo := n.todo
		n.todo = map[informer.Key]*corev1.Pod{}
		n.mu.Unlock()
		for _, p := range todo {
			if err := n.handle(ctx, p.DeepCopy()); err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				return fmt.Errorf("pod %s: %w", p.Name, err)
			}
		}
	}
}

func (n *nodes) handle(ctx context.Context, p *corev1.Pod) error {
	now := int64(0)
	switch {
	case p.DeletionTimestamp != nil:
		return n.client.Delete(ctx, p, client.DeleteOptions{GracePeriodSeconds: &now, UID: p.UID})
	case p.Status.Phase == corev1.PodRunning || p.Spec.Containers[0].Image == "broken":
		return nil
	}
	if phase := corev1.PodPhase(p.Spec.Containers[0].Image); phase == corev1.PodSucceeded || phase == corev1.PodFailed {
		if p.Status.Phase == phase {
			return nil
		}
		code := map[corev1.PodPhase]int32{corev1.PodFailed: 3}[phase]
		p.Status.Phase = phase
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.Now()},
		}}}
		return n.client.UpdateStatus(ctx, p)
	}
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
	return n.client.UpdateStatus(ctx, p)
}

func workload(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "one"}}},
		}},
	}
}

func (c *cluster) eventually(what string, fn func() bool) {
	c.Helper()
	require.Eventually(c.T, fn, 30*time.Second, 5*time.Millisecond, what)
}

func (c *cluster) rolledOut(name string, replicas int32) *appsv1.Deployment {
	c.Helper()
	var d *appsv1.Deployment
	c.eventually(fmt.Sprintf("%s rolled out to %d", name, replicas), func() bool {
		got, ok := c.deps.Get("default", name)
		d = got
		return ok && d.Status.ObservedGeneration >= max(d.Generation, c.asked) && d.Status.UpdatedReplicas == replicas &&
			d.Status.Replicas == replicas && d.Status.AvailableReplicas == replicas
	})
	return d
}

func (c *cluster) patch(name, body string) {
	c.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	require.NoError(c.T, c.Patch(c.Context(), d, types.StrategicMergePatchType, []byte(body), ""))
	c.asked = d.Generation
}

func (c *cluster) reasons(name string) map[string][]string {
	out := map[string][]string{}
	list := &corev1.EventList{}
	require.NoError(c.T, c.List(c.Context(), list, client.ListOptions{Namespace: "default"}))
	for _, ev := range list.Items {
		if ev.InvolvedObject.Name == name {
			out[ev.Reason] = append(out[ev.Reason], ev.Message)
		}
	}
	return out
}

func TestADeploymentLives(t *testing.T) {
	c := start(t)
	require.NoError(t, c.Create(t.Context(), workload("web", 3)))
	d := c.rolledOut("web", 3)
	require.Equal(t, "1", d.Annotations["deployment.kubernetes.io/revision"])
	rs := c.sets.List("default", nil)[0]
	for _, p := range c.pods.List("default", nil) {
		require.Regexp(t, "^"+rs.Name+"-[a-z0-9]{5}$", p.Name)
		require.Equal(t, rs.Name+"-", p.GenerateName)
		require.Equal(t, rs.UID, metav1.GetControllerOf(p).UID)
	}

	c.patch("web", `{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"two"}]}}}}`)
	d = c.rolledOut("web", 3)
	require.Equal(t, "2", d.Annotations["deployment.kubernetes.io/revision"])
	for _, p := range c.pods.List("default", nil) {
		require.Equal(t, "two", p.Spec.Containers[0].Image)
	}
	c.patch("web", `{"spec":{"replicas":5,"template":{"spec":{"containers":[{"name":"app","image":"one"}]}}}}`)
	d = c.rolledOut("web", 5)
	require.Equal(t, "3", d.Annotations["deployment.kubernetes.io/revision"])
	require.Equal(t, 2, c.sets.Len())

	victim := c.pods.List("default", nil)[0]
	require.NoError(t, c.Delete(t.Context(), victim.DeepCopy(), client.DeleteOptions{}))
	c.eventually("replaced", func() bool {
		_, there := c.pods.Get("default", victim.Name)
		return !there && c.pods.Len() == 5
	})
	c.patch("web", `{"spec":{"replicas":0}}`)
	c.rolledOut("web", 0)
	c.eventually("no pods", func() bool { return c.pods.Len() == 0 })
	c.eventually("events", func() bool {
		r := c.reasons("web")
		return len(r["ScalingReplicaSet"]) >= 5 && len(c.reasons(rs.Name)["SuccessfulCreate"]) >= 3 && len(c.reasons(rs.Name)["SuccessfulDelete"]) > 0
	})
	require.Contains(t, c.reasons("web")["ScalingReplicaSet"], "Scaled up replica set "+rs.Name+" from 0 to 3")
}

func TestAThousandPodsAreMadeOnceAndFast(t *testing.T) {
	c := start(t)
	var created sync.Map
	c.pods.OnChange(func(old, new *corev1.Pod) {
		if old == nil {
			created.Store(new.Name, true)
		}
	})
	began := time.Now()
	require.NoError(t, c.Create(t.Context(), workload("big", 1000)))
	c.eventually("all made", func() bool { return c.pods.Len() >= 1000 })
	t.Logf("1000 pods in %v", time.Since(began))
	c.rolledOut("big", 1000)
	n := 0
	created.Range(func(any, any) bool { n++; return true })
	require.Equal(t, 1000, n, "no pod was made twice")
}

func TestPodsAreAdoptedAndReleasedByTheirLabels(t *testing.T) {
	c := start(t)
	orphan := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "orphan", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "one"}}},
	}
	require.NoError(t, c.Create(t.Context(), orphan))
	template := workload("web", 2).Spec
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       appsv1.ReplicaSetSpec{Replicas: template.Replicas, Selector: template.Selector, Template: template.Template},
	}
	require.NoError(t, c.Create(t.Context(), rs))
	ready := func() bool {
		got, ok := c.sets.Get("default", "web")
		return ok && got.Status.AvailableReplicas == 2 && got.Status.Replicas == 2
	}
	c.eventually("two pods", ready)
	require.Equal(t, 2, c.pods.Len())
	got, _ := c.pods.Get("default", "orphan")
	require.True(t, metav1.IsControlledBy(got, rs))

	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "orphan"}}
	require.NoError(t, c.Patch(t.Context(), pod, types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"debug"}}}`), ""))
	c.eventually("released and replaced", func() bool {
		got, _ := c.pods.Get("default", "orphan")
		return c.pods.Len() == 3 && len(got.OwnerReferences) == 0 && ready()
	})
}

func TestABrokenRolloutKeepsWhatServes(t *testing.T) {
	c := start(t)
	require.NoError(t, c.Create(t.Context(), workload("web", 4)))
	c.rolledOut("web", 4)
	c.patch("web", `{"spec":{"progressDeadlineSeconds":1,"template":{"spec":{"containers":[{"name":"app","image":"broken"}]}}}}`)
	c.eventually("deadline exceeded", func() bool {
		d, _ := c.deps.Get("default", "web")
		for _, cond := range d.Status.Conditions {
			if cond.Reason == "ProgressDeadlineExceeded" {
				return d.Status.AvailableReplicas == 3 && d.Status.UpdatedReplicas == 2
			}
		}
		return false
	})
}

func TestAReplicationControllerLives(t *testing.T) {
	c := start(t)
	d := workload("old", 2)
	rc := &corev1.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "old"},
		Spec:       corev1.ReplicationControllerSpec{Replicas: d.Spec.Replicas, Template: &d.Spec.Template},
	}
	require.NoError(t, c.Create(t.Context(), rc))
	c.eventually("two available", func() bool {
		require.NoError(t, c.Get(t.Context(), rc, "default", "old"))
		return rc.Status.AvailableReplicas == 2 && rc.Status.ObservedGeneration == rc.Generation
	})
	for _, p := range c.pods.List("default", nil) {
		require.True(t, metav1.IsControlledBy(p, rc))
	}
	rc.Spec.Replicas = new(int32)
	require.NoError(t, c.Update(t.Context(), rc))
	c.eventually("none", func() bool { return c.pods.Len() == 0 })
}
