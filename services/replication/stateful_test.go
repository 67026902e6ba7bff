package replication

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
)

func (c *cluster) names() (out []string) {
	for _, p := range c.pods.List("default", nil) {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return out
}

func (c *cluster) images() map[string]int {
	out := map[string]int{}
	for _, p := range c.pods.List("default", nil) {
		out[p.Spec.Containers[0].Image]++
	}
	return out
}

func TestAStatefulSetLives(t *testing.T) {
	c := start(t)
	kubectl := c.kubectl()
	d := workload("db", 3)
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db"}, Spec: appsv1.StatefulSetSpec{
		Replicas: d.Spec.Replicas, Selector: d.Spec.Selector, Template: d.Spec.Template, ServiceName: "db",
		VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		}}},
	}}
	require.NoError(t, c.Create(t.Context(), set))
	done := func() { t.Helper(); kubectl("rollout status statefulset/db --timeout=20s") }
	done()
	require.Equal(t, []string{"db-0", "db-1", "db-2"}, c.names())
	list := &corev1.PersistentVolumeClaimList{}
	require.NoError(t, c.List(t.Context(), list, client.ListOptions{Namespace: "default"}))
	require.Len(t, list.Items, 3)

	kubectl("set image statefulset/db app=two")
	done()
	c.eventually("all new", func() bool { return c.images()["two"] == 3 })
	require.Regexp(t, `1 .*\n2 `, kubectl("rollout history statefulset/db"))
	kubectl("rollout undo statefulset/db")
	done()
	c.eventually("all as before", func() bool { return c.images()["one"] == 3 })
	require.Regexp(t, `2 .*\n3 `, kubectl("rollout history statefulset/db"))
	kubectl("scale statefulset/db --replicas=1")
	c.eventually("one", func() bool { return fmt.Sprint(c.names()) == "[db-0]" })
	require.Contains(t, c.reasons("db")["SuccessfulCreate"], "create Pod db-0 in StatefulSet db successful")
}

func TestADaemonSetLives(t *testing.T) {
	c := start(t)
	kubectl := c.kubectl()
	node := func(name string) *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }
	join := func(name string) {
		n := node(name)
		require.NoError(t, c.Create(t.Context(), n))
		n.Spec.Taints = nil // it is ready
		require.NoError(t, c.Update(t.Context(), n))
	}
	join("a")
	join("b")
	d := workload("agent", 0)
	require.NoError(t, c.Create(t.Context(), &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "agent"},
		Spec:       appsv1.DaemonSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template},
	}))
	done := func() { t.Helper(); kubectl("rollout status daemonset/agent --timeout=20s") }
	c.eventually("one a node", func() bool { return c.images()["one"] == 2 })
	done()
	join("c")
	c.eventually("one on the new node", func() bool { return c.images()["one"] == 3 })
	kubectl("set image daemonset/agent app=two")
	done()
	c.eventually("all new", func() bool { return c.images()["two"] == 3 && c.pods.Len() == 3 })
	kubectl("rollout undo daemonset/agent")
	done()
	c.eventually("all as before", func() bool { return c.images()["one"] == 3 && c.pods.Len() == 3 })
	require.NoError(t, c.Delete(t.Context(), node("b"), client.DeleteOptions{}))
	c.eventually("none on the node that is gone", func() bool { return c.pods.Len() == 2 })
}
