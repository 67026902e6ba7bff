package ownership

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/services/api/apitest"
)

func pod(name, app string, owner client.Object) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "one"}}},
	}
	if owner != nil {
		ref, err := Reference(owner)
		if err != nil {
			panic(err)
		}
		p.OwnerReferences = []metav1.OwnerReference{ref}
	}
	return p
}

func names(pods []*corev1.Pod) (out []string) {
	for _, p := range pods {
		out = append(out, p.Name)
	}
	return out
}

func TestDecide(t *testing.T) {
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "1"}}
	selector := labels.SelectorFromSet(labels.Set{"app": "web"})
	stopping := pod("stopping", "web", nil)
	stopping.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	controlled := []*corev1.Pod{pod("own", "web", rs), pod("relabelled", "debug", rs)}
	orphans := []*corev1.Pod{pod("orphan", "web", nil), pod("foreign", "db", nil), stopping}
	d := Decide(rs, selector, controlled, orphans)
	require.Equal(t, []string{"own"}, names(d.Own))
	require.Equal(t, []string{"orphan"}, names(d.Adopt))
	require.Equal(t, []string{"relabelled"}, names(d.Release))

	rs.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	d = Decide(rs, selector, controlled, orphans)
	require.Equal(t, []string{"own"}, names(d.Own))
	require.Empty(t, append(d.Adopt, d.Release...))
}

func TestOnlyTheObjectThatWasDecidedAboutIsTaken(t *testing.T) {
	api := apitest.Start(t)
	c := api.Client(apitest.Admin)
	var pods *informer.Informer[*corev1.Pod]
	api.Informers(apitest.Admin, func(set *informer.Set) {
		pods = informer.For[*corev1.Pod](set)
		Track(pods)
	})
	rs := replicaSet()
	require.NoError(t, c.Create(t.Context(), rs))
	keeper := pod("keeper", "web", nil)
	keeper.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "x"}}
	require.NoError(t, c.Create(t.Context(), keeper))
	remade := pod("remade", "web", nil)
	require.NoError(t, c.Create(t.Context(), remade))
	remade.UID = types.UID("one-that-was")
	gone := pod("gone", "web", nil)

	var stored []string
	note := func(p *corev1.Pod) { stored = append(stored, p.Name) }
	own, err := Apply(t.Context(), c, rs, Decision[*corev1.Pod]{Adopt: []*corev1.Pod{gone, remade, keeper}}, &appsv1.ReplicaSet{}, note)
	require.NoError(t, err)
	require.Equal(t, []string{"keeper"}, names(own))
	require.Equal(t, []string{"keeper"}, stored)
	require.Eventually(t, func() bool { return len(Controlled(pods, rs.UID)) == 1 && len(Orphans(pods, "default")) == 1 }, 10*time.Second, time.Millisecond)

	_, err = Apply(t.Context(), c, rs, Decision[*corev1.Pod]{Release: own}, &appsv1.ReplicaSet{}, note)
	require.NoError(t, err)
	got := &corev1.Pod{}
	require.NoError(t, c.Get(t.Context(), got, "default", "keeper"))
	require.Equal(t, keeper.OwnerReferences, got.OwnerReferences, "other owners stay")

	require.NoError(t, c.Delete(t.Context(), rs.DeepCopy(), client.DeleteOptions{}))
	_, err = Apply(t.Context(), c, rs, Decision[*corev1.Pod]{Adopt: own}, &appsv1.ReplicaSet{}, note)
	require.Error(t, err, "an owner that is gone adopts nothing")
}

func replicaSet() *appsv1.ReplicaSet {
	set := map[string]string{"app": "web"}
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: set}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: set}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "one"}}},
		}},
	}
}
