package deployment

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// world is a Deployment with its ReplicaSets and pods, in which plans are carried out one step at a time.
type world struct {
	t      *testing.T
	d      *appsv1.Deployment
	sets   map[string]*appsv1.ReplicaSet
	pods   map[string][]*pod // by ReplicaSet
	events []string
	now    time.Time
	uids   int
}

type pod struct{ ready, terminating bool }

func newWorld(t *testing.T, replicas int32, surge, unavailable string) *world {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	return &world{t: t, now: start, sets: map[string]*appsv1.ReplicaSet{}, pods: map[string][]*pod{}, d: &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "d", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, RevisionHistoryLimit: ptrTo[int32](10), ProgressDeadlineSeconds: ptrTo[int32](600),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u},
			},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
			},
		},
	}}
}

func (w *world) image(image string) {
	w.d = w.d.DeepCopy()
	w.d.Spec.Template.Spec.Containers[0].Image = image
	w.d.Generation++
}

func (w *world) resize(n int32) {
	w.d = w.d.DeepCopy()
	w.d.Spec.Replicas = &n
	w.d.Generation++
}

func (w *world) observe() observed {
	return observed{deployment: w.d, sets: slices.Collect(maps.Values(w.sets)), now: w.now, running: func(uid types.UID) bool {
		for name, rs := range w.sets {
			if rs.UID == uid && len(w.pods[name]) > 0 {
				return true
			}
		}
		return false
	}}
}

// step makes one plan and writes it; it says whether there was anything to write.
func (w *world) step() bool {
	p := makePlan(w.observe())
	note := func(c *change) {
		if c.event != "" {
			w.events = append(w.events, c.event)
		}
	}
	if p.create != nil {
		w.uids++
		rs := p.create.set
		require.Nil(w.t, w.sets[rs.Name], "a ReplicaSet is not made twice")
		rs.UID, rs.CreationTimestamp, rs.Generation = types.UID(fmt.Sprint("rs-", w.uids)), metav1.NewTime(w.now.Add(time.Duration(w.uids))), 1
		w.sets[rs.Name] = rs
		note(p.create)
	}
	for _, c := range p.update {
		if sizeOf(c.set) != sizeOf(w.sets[c.set.Name]) {
			c.set.Generation++
		}
		w.sets[c.set.Name] = c.set
		note(c)
	}
	for _, rs := range p.remove {
		require.Empty(w.t, w.pods[rs.Name])
		delete(w.sets, rs.Name)
	}
	if p.deployment != nil {
		w.d = p.deployment
	}
	return p.create != nil || len(p.update) > 0 || len(p.remove) > 0 || p.deployment != nil
}

// sync lets one ReplicaSet make or delete its pods, the unready first, and count them.
func (w *world) sync(name string) bool {
	rs := w.sets[name].DeepCopy()
	live := slices.DeleteFunc(slices.Clone(w.pods[name]), func(p *pod) bool { return p.terminating })
	slices.SortStableFunc(live, func(a, b *pod) int { return rank(a) - rank(b) })
	for len(live) < int(sizeOf(rs)) {
		p := &pod{}
		live, w.pods[name] = append(live, p), append(w.pods[name], p)
	}
	for _, p := range live[:len(live)-int(sizeOf(rs))] {
		p.terminating = true
	}
	live = live[len(live)-int(sizeOf(rs)):]
	ready := int32(0)
	for _, p := range live {
		ready += int32(rank(p))
	}
	was := rs.Status
	rs.Status = appsv1.ReplicaSetStatus{
		Replicas: int32(len(live)), ReadyReplicas: ready, AvailableReplicas: ready, ObservedGeneration: rs.Generation,
		TerminatingReplicas: ptrTo(int32(len(w.pods[name]) - len(live))),
	}
	w.sets[name] = rs
	return !sameSetStatus(was, rs.Status)
}

func sameSetStatus(a, b appsv1.ReplicaSetStatus) bool {
	return a.Replicas == b.Replicas && a.AvailableReplicas == b.AvailableReplicas && a.ObservedGeneration == b.ObservedGeneration
}

func rank(p *pod) int {
	if p.ready {
		return 1
	}
	return 0
}

// run lets the containers start and stop.
func (w *world) run(name string) bool {
	changed := false
	w.pods[name] = slices.DeleteFunc(w.pods[name], func(p *pod) bool { changed = changed || p.terminating; return p.terminating })
	for _, p := range w.pods[name] {
		changed = changed || !p.ready
		p.ready = true
	}
	return changed
}

// settle lets everything run until nothing changes any more.
func (w *world) settle() {
	w.t.Helper()
	for range 1000 {
		w.now = w.now.Add(time.Second)
		changed := w.step()
		for _, name := range w.names() {
			changed = w.sync(name) || changed
			changed = w.run(name) || changed
		}
		if !changed {
			return
		}
	}
	w.t.Fatalf("does not converge: %v", w.sizes())
}

func (w *world) names() []string { return slices.Sorted(maps.Keys(w.sets)) }

// sizes returns image:replicas of every set with pods.
func (w *world) sizes() map[string]int32 {
	out := map[string]int32{}
	for _, rs := range w.sets {
		if n := sizeOf(rs); n > 0 {
			out[rs.Spec.Template.Spec.Containers[0].Image] += n
		}
	}
	return out
}

func (w *world) available() (n int) {
	for _, list := range w.pods {
		for _, p := range list {
			if p.ready && !p.terminating {
				n++
			}
		}
	}
	return n
}

// asked is how many pods all sets should have.
func (w *world) asked() (n int) {
	for _, rs := range w.sets {
		n += int(sizeOf(rs))
	}
	return n
}

func (w *world) reason(kind appsv1.DeploymentConditionType) string {
	if c := conditionOf(&w.d.Status, kind); c != nil {
		return c.Reason
	}
	return ""
}

func (w *world) set(image string) *appsv1.ReplicaSet {
	for _, rs := range w.sets {
		if rs.Spec.Template.Spec.Containers[0].Image == image {
			return rs
		}
	}
	w.t.Fatalf("no ReplicaSet for %s", image)
	return nil
}
