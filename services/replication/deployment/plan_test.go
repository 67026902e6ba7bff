package deployment

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestANewDeploymentGetsItsReplicaSet(t *testing.T) {
	w := newWorld(t, 3, "25%", "25%")
	require.True(t, w.step())
	rs := w.set("web:1")
	hash := rs.Labels[hashLabel]
	require.Equal(t, "web-"+hash, rs.Name)
	require.NotRegexp(t, "[aeiou013]", hash)
	require.Equal(t, map[string]string{"app": "web", hashLabel: hash}, rs.Spec.Selector.MatchLabels)
	require.Equal(t, map[string]string{"app": "web", hashLabel: hash}, rs.Spec.Template.Labels)
	require.Equal(t, map[string]string{revisionAnnotation: "1", desiredAnnotation: "3", maxAnnotation: "4"}, rs.Annotations)
	require.Equal(t, []string{fmt.Sprintf("Scaled up replica set %s from 0 to 3", rs.Name)}, w.events)
	require.Equal(t, "1", w.d.Annotations[revisionAnnotation])
	require.Equal(t, "NewReplicaSetCreated", w.reason(appsv1.DeploymentProgressing))
	require.Equal(t, "MinimumReplicasUnavailable", w.reason(appsv1.DeploymentAvailable))
	w.settle()
	require.Equal(t, "NewReplicaSetAvailable", w.reason(appsv1.DeploymentProgressing))
	require.Equal(t, fmt.Sprintf("ReplicaSet %q has successfully progressed.", rs.Name), conditionOf(&w.d.Status, appsv1.DeploymentProgressing).Message)
	require.Equal(t, "MinimumReplicasAvailable", w.reason(appsv1.DeploymentAvailable))
	require.EqualValues(t, 3, w.d.Status.AvailableReplicas)
	require.EqualValues(t, 0, w.d.Status.UnavailableReplicas)
	require.Equal(t, w.d.Generation, w.d.Status.ObservedGeneration)
}

func TestBounds(t *testing.T) {
	for _, c := range []struct {
		replicas                 int32
		surge, unavailable       string
		wantSurge, wantUnavailab int32
	}{
		{3, "25%", "25%", 1, 0}, {4, "25%", "25%", 1, 1}, {10, "25%", "25%", 3, 2}, {1, "25%", "25%", 1, 0},
		{10, "0", "0", 0, 1}, {10, "0", "1%", 0, 1}, {2, "5", "5", 5, 2}, {0, "25%", "25%", 0, 0}, {10, "100%", "0", 10, 0},
	} {
		d := newWorld(t, c.replicas, c.surge, c.unavailable).d
		surge, unavailable := bounds(d)
		require.Equal(t, []int32{c.wantSurge, c.wantUnavailab}, []int32{surge, unavailable}, "%+v", c)
	}
}

func TestRollbackReusesTheOldReplicaSetUnderANewRevision(t *testing.T) {
	w := newWorld(t, 3, "25%", "25%")
	w.d.Annotations = map[string]string{"kubernetes.io/change-cause": "first", corev1.LastAppliedConfigAnnotation: "{}"}
	w.settle()
	first := w.set("web:1").Name
	w.image("web:2")
	w.settle()
	require.Equal(t, map[string]int32{"web:2": 3}, w.sizes())
	require.Equal(t, "2", w.d.Annotations[revisionAnnotation])
	require.Equal(t, "first", w.set("web:1").Annotations["kubernetes.io/change-cause"])
	require.NotContains(t, w.set("web:1").Annotations, corev1.LastAppliedConfigAnnotation)
	w.image("web:1") // what kubectl rollout undo does
	w.settle()
	rs := w.set("web:1")
	require.Equal(t, first, rs.Name)
	require.Equal(t, "3", rs.Annotations[revisionAnnotation])
	require.Equal(t, "1", rs.Annotations[historyAnnotation])
	require.Equal(t, "3", w.d.Annotations[revisionAnnotation])
	require.Len(t, w.sets, 2)
}

func TestOldReplicaSetsBeyondTheLimitGo(t *testing.T) {
	w := newWorld(t, 2, "1", "0")
	w.d.Spec.RevisionHistoryLimit = ptrTo[int32](2)
	for n := range 6 {
		w.image(fmt.Sprint("web:", n))
		w.settle()
	}
	require.Len(t, w.sets, 3)
	require.EqualValues(t, 0, sizeOf(w.set("web:3")))
	require.EqualValues(t, 0, sizeOf(w.set("web:4")))
	require.EqualValues(t, 2, sizeOf(w.set("web:5")))
}

func TestPausedTakesNoNewTemplateButScales(t *testing.T) {
	w := newWorld(t, 3, "1", "0")
	w.settle()
	w.d.Spec.Paused = true
	w.image("web:2")
	w.settle()
	require.Equal(t, map[string]int32{"web:1": 3}, w.sizes())
	require.Equal(t, "DeploymentPaused", w.reason(appsv1.DeploymentProgressing))
	w.resize(5)
	w.settle()
	require.Equal(t, map[string]int32{"web:1": 5}, w.sizes())
	w.d.Spec.Paused = false
	w.settle()
	require.Equal(t, map[string]int32{"web:2": 5}, w.sizes())
	require.Equal(t, "NewReplicaSetAvailable", w.reason(appsv1.DeploymentProgressing))
}

func TestRecreateStopsAllBeforeItStartsAny(t *testing.T) {
	w := newWorld(t, 3, "1", "0")
	w.d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	w.settle()
	w.image("web:2")
	for range 20 {
		w.step()
		for _, name := range w.names() {
			w.sync(name)
			images := map[string]bool{}
			for other, list := range w.pods {
				if len(list) > 0 {
					images[other] = true
				}
			}
			require.LessOrEqual(t, len(images), 1, "old and new pods at once")
			w.run(name)
		}
	}
	require.Equal(t, map[string]int32{"web:2": 3}, w.sizes())
}

func TestScalingHalfwayKeepsTheProportion(t *testing.T) {
	w := newWorld(t, 10, "3", "2")
	w.settle()
	w.image("web:2")
	w.step() // 2: 3 of 13, 1: 8
	require.Equal(t, map[string]int32{"web:1": 8, "web:2": 5}, w.half())
	w.resize(20)
	w.step()
	got := w.sizes()
	require.EqualValues(t, 23, got["web:1"]+got["web:2"])
	require.EqualValues(t, 14, got["web:1"])
	w.settle()
	require.Equal(t, map[string]int32{"web:2": 20}, w.sizes())
}

// half lets a rollout whose new pods do not start go as far as it gets.
func (w *world) half() map[string]int32 {
	for range 10 {
		w.step()
		for _, name := range w.names() {
			w.sync(name)
		}
	}
	return w.sizes()
}

func TestARolloutThatDoesNotMoveTimesOut(t *testing.T) {
	w := newWorld(t, 3, "1", "0")
	w.settle()
	w.image("web:broken")
	require.Equal(t, map[string]int32{"web:1": 3, "web:broken": 1}, w.half())
	require.Equal(t, "ReplicaSetUpdated", w.reason(appsv1.DeploymentProgressing))
	p := makePlan(w.observe())
	require.InDelta(t, 600, p.after.Seconds(), 2)
	w.now = w.now.Add(p.after)
	w.step()
	c := conditionOf(&w.d.Status, appsv1.DeploymentProgressing)
	require.Equal(t, "ProgressDeadlineExceeded", c.Reason)
	require.Equal(t, corev1.ConditionFalse, c.Status)
	require.Zero(t, makePlan(w.observe()).after)
	require.Equal(t, "MinimumReplicasAvailable", w.reason(appsv1.DeploymentAvailable))
	w.image("web:1")
	w.settle()
	require.Equal(t, "NewReplicaSetAvailable", w.reason(appsv1.DeploymentProgressing))
}

func TestUnhealthyOldPodsGoFirst(t *testing.T) {
	w := newWorld(t, 5, "0", "2")
	w.image("web:sick")
	w.half()
	w.image("web:2")
	w.step()
	require.Equal(t, map[string]int32{"web:sick": 3}, w.sizes(), "what may be missing is taken from what does not serve anyway")
	w.step()
	require.Equal(t, map[string]int32{"web:sick": 3, "web:2": 2}, w.sizes())
	w.settle()
	require.Equal(t, map[string]int32{"web:2": 5}, w.sizes())
}

func TestAFailureOfTheReplicaSetIsTheDeployments(t *testing.T) {
	w := newWorld(t, 1, "1", "0")
	w.step()
	rs := w.set("web:1").DeepCopy()
	rs.Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "exceeded quota"}}
	w.sets[rs.Name] = rs
	w.step()
	require.Equal(t, "exceeded quota", conditionOf(&w.d.Status, appsv1.DeploymentReplicaFailure).Message)
	w.settle()
	require.Nil(t, conditionOf(&w.d.Status, appsv1.DeploymentReplicaFailure))
}

// TestRandomHistories changes templates at random moments, with ReplicaSets and containers that are late. However it
// goes, there are never more pods than allowed, never fewer serve than promised, and in the end all is as wanted.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 1))
		surge, unavailable := rng.IntN(4), rng.IntN(4)
		w := newWorld(t, int32(rng.IntN(12)), fmt.Sprint(surge), fmt.Sprint(unavailable))
		w.settle()
		most, least := w.limits()
		for range 150 {
			w.randomStep(rng)
			require.LessOrEqual(t, w.asked(), most, "seed %d: too many pods: %v", seed, w.sizes())
			require.GreaterOrEqual(t, w.available(), least, "seed %d: too few serve: %v", seed, w.sizes())
		}
		w.settle()
		w.requireDone(seed)
	}
}

// TestRandomHistoriesWithScalingAndCrashes also resizes, pauses, and lets pods fail: then only the upper bound of what
// is asked for, and the end, are certain.
func TestRandomHistoriesWithScalingAndCrashes(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 2))
		w := newWorld(t, int32(rng.IntN(12)), fmt.Sprint(rng.IntN(100), "%"), fmt.Sprint(rng.IntN(100), "%"))
		w.settle()
		for range 150 {
			switch rng.IntN(12) {
			case 0:
				w.resize(int32(rng.IntN(12)))
			case 1:
				w.d = w.d.DeepCopy()
				w.d.Spec.Paused = !w.d.Spec.Paused
			case 2:
				for _, list := range w.pods {
					if len(list) > 0 {
						list[rng.IntN(len(list))].ready = false
					}
				}
			case 3:
				w.pods[w.names()[0]] = nil
			default:
				w.randomStep(rng)
			}
		}
		w.d = w.d.DeepCopy()
		w.d.Spec.Paused = false
		w.settle()
		w.requireDone(seed)
	}
}

func (w *world) limits() (most, least int) {
	surge, unavailable := bounds(w.d)
	return int(wanted(w.d) + surge), int(wanted(w.d) - unavailable)
}

func (w *world) randomStep(rng *rand.Rand) {
	names := w.names()
	some := names[rng.IntN(len(names))]
	switch rng.IntN(8) {
	case 0:
		w.image(fmt.Sprint("web:", rng.IntN(4)))
	case 1, 2, 3:
		w.step()
	case 4, 5:
		w.sync(some)
	default:
		if list := w.pods[some]; len(list) > 0 {
			p := list[rng.IntN(len(list))]
			p.ready = true
			w.pods[some] = slices.DeleteFunc(list, func(o *pod) bool { return o == p && p.terminating })
		}
	}
	w.now = w.now.Add(time.Duration(rng.IntN(1000)) * time.Millisecond)
}

func (w *world) requireDone(seed uint64) {
	w.t.Helper()
	want := map[string]int32{}
	if n := wanted(w.d); n > 0 {
		want[w.d.Spec.Template.Spec.Containers[0].Image] = n
	}
	require.Equal(w.t, want, w.sizes(), "seed %d", seed)
	require.True(w.t, complete(w.d, &w.d.Status), "seed %d", seed)
	require.Equal(w.t, "NewReplicaSetAvailable", w.reason(appsv1.DeploymentProgressing), "seed %d", seed)
	revisions := map[string]bool{}
	for _, rs := range w.sets {
		revisions[rs.Annotations[revisionAnnotation]] = true
	}
	require.Len(w.t, revisions, len(w.sets), "seed %d: every set has a revision of its own: %v", seed, slices.Collect(maps.Keys(revisions)))
}

func TestEqualTemplatesAreFoundWhateverTheirHash(t *testing.T) {
	w := newWorld(t, 1, "1", "0")
	w.settle()
	for _, rs := range w.sets {
		require.True(t, sameTemplate(&rs.Spec.Template, &w.d.Spec.Template))
		require.Equal(t, intstr.FromInt32(1), *w.d.Spec.Strategy.RollingUpdate.MaxSurge)
	}
	hashes := map[string]bool{templateHash(&w.d.Spec.Template, nil): true}
	for n := range int32(100) {
		hashes[templateHash(&w.d.Spec.Template, &n)] = true
	}
	require.Len(t, hashes, 101)
}
