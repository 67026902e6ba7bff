package disruption

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func pod(name, owner string, ready bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if owner != "" {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{UID: types.UID(owner), Controller: &yes}}
	}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

func budget(min, max string) *policyv1.PodDisruptionBudget {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web", Generation: 3}}
	if min != "" {
		v := intstr.Parse(min)
		b.Spec.MinAvailable = &v
	}
	if max != "" {
		v := intstr.Parse(max)
		b.Spec.MaxUnavailable = &v
	}
	return b
}

// scaleOf: the sets "old" and "new" are a deployment's of 4, "db" has 3, nothing is known of others.
func scaleOf(p *corev1.Pod) (scale, bool) {
	s, ok := map[types.UID]scale{"old": {"deployment", 4}, "new": {"deployment", 4}, "db": {"db", 3}}[metav1.GetControllerOf(p).UID]
	return s, ok
}

func planOf(b *policyv1.PodDisruptionBudget, pods ...*corev1.Pod) plan {
	return makePlan(observed{budget: b, pods: pods, scaleOf: scaleOf, now: now})
}

func TestHowManyMayGo(t *testing.T) {
	rollout := []*corev1.Pod{pod("a", "old", true), pod("b", "old", true), pod("c", "old", true), pod("d", "new", true), pod("e", "new", false)}
	mixed := append(rollout[:4:4], pod("db", "db", true))
	leaving := pod("f", "old", true)
	leaving.DeletionTimestamp = &metav1.Time{}
	for name, c := range map[string]struct {
		min, max                            string
		pods                                []*corev1.Pod
		expected, desired, healthy, allowed int32
	}{
		"a number":                        {"3", "", rollout, 5, 3, 4, 1},
		"more than there are":             {"9", "", rollout, 5, 9, 4, 0},
		"half, of what should be":         {"50%", "", rollout, 4, 2, 4, 2},
		"rounded up":                      {"51%", "", rollout, 4, 3, 4, 1},
		"one at most":                     {"", "1", rollout, 4, 3, 4, 1},
		"a share at most, rounded up":     {"", "30%", rollout, 4, 2, 4, 2},
		"two workloads":                   {"", "3", mixed, 7, 4, 5, 1},
		"no pods":                         {"0", "", nil, 0, 0, 0, 0},
		"what goes already does not help": {"3", "", append(rollout[:3:3], leaving), 4, 3, 3, 0},
		"pods of nobody, by number":       {"1", "", []*corev1.Pod{pod("x", "", true), pod("y", "", true)}, 2, 1, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := planOf(budget(c.min, c.max), c.pods...)
			require.NoError(t, p.failure)
			s := p.status
			require.Equal(t, []int32{c.expected, c.desired, c.healthy, c.allowed}, []int32{s.ExpectedPods, s.DesiredHealthy, s.CurrentHealthy, s.DisruptionsAllowed})
			require.EqualValues(t, 3, s.ObservedGeneration)
			want := metav1.Condition{Type: "DisruptionAllowed", Status: "False", Reason: "InsufficientPods", ObservedGeneration: 3, LastTransitionTime: metav1.NewTime(now)}
			if c.allowed > 0 {
				want.Status, want.Reason = "True", "SufficientPods"
			}
			require.Equal(t, []metav1.Condition{want}, s.Conditions)
		})
	}
}

func TestNothingGoesWhileItIsUnknownHowManyShouldBe(t *testing.T) {
	b := budget("50%", "")
	b.Status.DisruptionsAllowed = 7
	p := planOf(b, pod("a", "daemons", true))
	require.ErrorContains(t, p.failure, `found no controllers for pod "a"`)
	require.Zero(t, p.status.DisruptionsAllowed)
	require.Equal(t, "SyncFailed", p.status.Conditions[0].Reason)
	require.True(t, planOf(b, pod("a", "", true)).unmanaged)
}

func TestEvictedPodsAreTakenForLostUntilTheyAreKnownToStay(t *testing.T) {
	b := budget("1", "")
	b.Status.DisruptedPods = map[string]metav1.Time{
		"a": metav1.NewTime(now.Add(-time.Minute)), "b": metav1.NewTime(now.Add(-3 * time.Minute)), "gone": metav1.NewTime(now), "c": metav1.NewTime(now),
	}
	going := pod("c", "db", true)
	going.DeletionTimestamp = &metav1.Time{}
	p := planOf(b, pod("a", "db", true), pod("b", "db", true), going)
	require.EqualValues(t, 1, p.status.CurrentHealthy)
	require.Len(t, p.status.DisruptedPods, 1)
	require.Contains(t, p.status.DisruptedPods, "a")
	require.Equal(t, "b", p.kept[0].Name)
	require.Equal(t, time.Minute, p.after)
}
