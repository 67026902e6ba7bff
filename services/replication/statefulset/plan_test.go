package statefulset

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"karve.dev/karve/services/replication/revision"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// world is a StatefulSet with its pods, in which plans are carried out one after the other.
type world struct {
	t      *testing.T
	o      observed
	broken string // pods of this revision never serve
	log    []string
}

func newWorld(t *testing.T, replicas int32, change func(*appsv1.StatefulSet)) *world {
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "s"}, Spec: appsv1.StatefulSetSpec{
		Replicas: &replicas, ServiceName: "db", PodManagementPolicy: appsv1.OrderedReadyPodManagement,
		UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{}},
		Template:       corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "db"}}},
	}}
	if change != nil {
		change(set)
	}
	first := rev(t, set, "db-1")
	return &world{t: t, o: observed{set: set, current: first, update: first, now: now}}
}

func rev(t *testing.T, set *appsv1.StatefulSet, name string) *appsv1.ControllerRevision {
	t.Helper()
	data, err := revision.Data(&set.Spec.Template)
	require.NoError(t, err)
	r := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: name}}
	r.Data.Raw = data
	return r
}

// step carries one plan out; pods that stop are gone, and new ones serve, at the next step.
func (w *world) step() bool {
	for _, p := range w.o.pods {
		if p.Labels[revisionLabel] != w.broken {
			p.Status.Phase = corev1.PodRunning
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
	}
	w.o.pods = slices.DeleteFunc(w.o.pods, func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	p := makePlan(w.o)
	if w.o.set.Status.CurrentRevision != p.status.CurrentRevision && p.status.CurrentRevision == w.o.update.Name {
		w.o.current = w.o.update
	}
	w.o.set.Status = p.status
	for _, c := range p.create {
		pod, err := newPod(w.o.set, c.revision, c.ordinal)
		require.NoError(w.t, err)
		w.o.pods = append(w.o.pods, pod)
		w.log = append(w.log, "+"+pod.Name)
	}
	for _, pod := range slices.Concat(p.ended, p.old, p.surplus) {
		pod.DeletionTimestamp = &metav1.Time{Time: now}
		w.log = append(w.log, "-"+pod.Name)
	}
	return len(p.create)+len(p.ended)+len(p.old)+len(p.surplus) > 0
}

func (w *world) settle() []string {
	w.log = nil
	for idle := 0; idle < 3; idle++ {
		if w.step() {
			idle = 0
		}
	}
	return w.log
}

func (w *world) revisions() map[string]int {
	out := map[string]int{}
	for _, p := range w.o.pods {
		out[p.Labels[revisionLabel]]++
	}
	return out
}

func TestPodsComeAndGoInOrder(t *testing.T) {
	w := newWorld(t, 3, nil)
	require.Equal(t, []string{"+db-0", "+db-1", "+db-2"}, w.settle())
	require.EqualValues(t, 3, w.o.set.Status.AvailableReplicas)
	*w.o.set.Spec.Replicas = 1
	require.Equal(t, []string{"-db-2", "-db-1"}, w.settle())

	w = newWorld(t, 3, func(s *appsv1.StatefulSet) { s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5} })
	require.Equal(t, []string{"+db-5", "+db-6", "+db-7"}, w.settle())

	w = newWorld(t, 3, nil)
	w.broken = "db-1"
	require.Equal(t, []string{"+db-0"}, w.settle(), "the next waits for the one before")

	w = newWorld(t, 3, func(s *appsv1.StatefulSet) { s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement })
	w.broken = "db-1"
	w.step()
	require.Equal(t, []string{"+db-0", "+db-1", "+db-2"}, w.log, "in parallel all at once")
}

func TestAnUpdateGoesFromTheHighestDown(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.settle()
	w.o.update = rev(t, w.o.set, "db-2")
	require.Equal(t, []string{"-db-2", "+db-2", "-db-1", "+db-1", "-db-0", "+db-0"}, w.settle())
	require.Equal(t, map[string]int{"db-2": 3}, w.revisions())
	require.Equal(t, "db-2", w.o.set.Status.CurrentRevision)
	require.EqualValues(t, 3, w.o.set.Status.CurrentReplicas)
}

func TestAPartitionKeepsTheLowerOnesAsTheyWere(t *testing.T) {
	partition := int32(2)
	w := newWorld(t, 3, func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.RollingUpdate.Partition = &partition })
	w.settle()
	w.o.update = rev(t, w.o.set, "db-2")
	require.Equal(t, []string{"-db-2", "+db-2"}, w.settle())
	require.Equal(t, map[string]int{"db-1": 2, "db-2": 1}, w.revisions())
	require.Equal(t, "db-1", w.o.set.Status.CurrentRevision)
	w.o.pods[0].Status.Phase = corev1.PodFailed
	for _, p := range w.o.pods {
		if p.Name == "db-0" {
			p.DeletionTimestamp = &metav1.Time{Time: now}
		}
	}
	require.Equal(t, []string{"+db-0"}, w.settle())
	require.Equal(t, map[string]int{"db-1": 2, "db-2": 1}, w.revisions(), "made anew from the old template")
}

func TestABrokenUpdateStopsAtTheFirst(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.settle()
	w.o.update, w.broken = rev(t, w.o.set, "db-2"), "db-2"
	require.Equal(t, []string{"-db-2", "+db-2"}, w.settle())
	require.EqualValues(t, 2, w.o.set.Status.AvailableReplicas)
}

func TestSeveralMayBeMissing(t *testing.T) {
	two := intstr.FromInt32(2)
	w := newWorld(t, 4, func(s *appsv1.StatefulSet) {
		s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
		s.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = &two
	})
	w.settle()
	w.o.update = rev(t, w.o.set, "db-2")
	require.Equal(t, []string{"-db-3", "-db-2", "+db-2", "+db-3", "-db-1", "-db-0", "+db-0", "+db-1"}, w.settle())
	w.o.set.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
	w.o.update = rev(t, w.o.set, "db-3")
	require.Empty(t, w.settle())
}

func TestAPodKeepsItsNameAndVolumes(t *testing.T) {
	w := newWorld(t, 1, func(s *appsv1.StatefulSet) {
		s.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}
		s.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "data"}, {Name: "tmp"}}
		s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}}
	})
	p, err := newPod(w.o.set, rev(t, w.o.set, "db-abc"), 4)
	require.NoError(t, err)
	require.Equal(t, "db-4", p.Name)
	require.Equal(t, "db-4", p.Spec.Hostname)
	require.Equal(t, "db", p.Spec.Subdomain)
	require.Equal(t, map[string]string{
		"app": "db", "statefulset.kubernetes.io/pod-name": "db-4", "apps.kubernetes.io/pod-index": "4", "controller-revision-hash": "db-abc",
	}, p.Labels)
	require.Len(t, p.Spec.Volumes, 2)
	require.Equal(t, "data-db-4", p.Spec.Volumes[0].PersistentVolumeClaim.ClaimName)
	c := claims(w.o.set, "db-4")
	require.Equal(t, "data-db-4", c[0].Name)
	require.Equal(t, map[string]string{"app": "db"}, c[0].Labels)
	for name, want := range map[string]int{"db-0": 0, "db-12": 12, "db-01": -1, "db-": -1, "dbx-1": -1, "db-x": -1} {
		n, ok := ordinalOf(w.o.set, name)
		require.Equal(t, want >= 0, ok, name)
		require.True(t, !ok || n == want, fmt.Sprint(name, n))
	}
}
