package pods

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// build returns a pod that is old, runs on a node of its own and serves; change spoils that.
func build(name string, change func(*corev1.Pod)) *corev1.Pod {
	old := metav1.NewTime(now.Add(-24 * time.Hour))
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: old, Annotations: map[string]string{}},
		Spec:       corev1.PodSpec{NodeName: "node-of-" + name},
		Status: corev1.PodStatus{
			Phase:             corev1.PodRunning,
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: old}},
			ContainerStatuses: []corev1.ContainerStatus{{}},
		},
	}
	if change != nil {
		change(p)
	}
	return p
}

func TestPodsThatLoseLeastGoFirst(t *testing.T) {
	recent := metav1.NewTime(now.Add(-time.Minute))
	want := []*corev1.Pod{
		build("unassigned", func(p *corev1.Pod) { p.Spec.NodeName = "" }),
		build("pending", func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }),
		build("unknown", func(p *corev1.Pod) { p.Status.Phase = corev1.PodUnknown }),
		build("unready", func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }),
		build("cheap", func(p *corev1.Pod) { p.Annotations[corev1.PodDeletionCost] = "-5" }),
		build("doubled", func(p *corev1.Pod) { p.Spec.NodeName = "node-of-plain" }),
		build("just-ready", func(p *corev1.Pod) { p.Status.Conditions[0].LastTransitionTime = recent }),
		build("restarting", func(p *corev1.Pod) { p.Status.ContainerStatuses[0].RestartCount = 9 }),
		build("young", func(p *corev1.Pod) { p.CreationTimestamp = recent }),
		build("plain", nil),
		build("dear", func(p *corev1.Pod) { p.Annotations[corev1.PodDeletionCost] = "7" }),
	}
	// "plain" shares its node with "doubled": as long as that is there, it is doubled up too.
	want[5], want[9] = want[9], want[5]
	order := func() (names []string) {
		left := append([]*corev1.Pod{}, want...)
		for len(left) > 1 {
			next := Surplus(left, want, 1, now)[0]
			names = append(names, next.Name)
			for i, p := range left {
				if p == next {
					left = append(left[:i], left[i+1:]...)
					break
				}
			}
		}
		return names
	}()
	require.Equal(t, []string{"unassigned", "pending", "unknown", "unready", "cheap"}, order[:5])
	require.ElementsMatch(t, []string{"doubled", "plain"}, order[5:7])
	require.Equal(t, []string{"just-ready", "restarting", "young"}, order[7:])
}

func TestPodsOfOneAgeAreChosenByChance(t *testing.T) {
	a := build("b", func(p *corev1.Pod) { p.UID = "1"; p.CreationTimestamp = metav1.NewTime(now.Add(-23 * time.Hour)) })
	b := build("a", func(p *corev1.Pod) { p.UID = "2" })
	require.Equal(t, []*corev1.Pod{a}, Surplus([]*corev1.Pod{b, a}, nil, 1, now))
}

func TestAvailabilityTakesMinReady(t *testing.T) {
	p := build("p", func(p *corev1.Pod) {
		p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-4 * time.Second))
	})
	ok, wait := Available(p, 10*time.Second, now)
	require.False(t, ok)
	require.Equal(t, 6*time.Second, wait)
	ok, _ = Available(p, 4*time.Second, now)
	require.True(t, ok)
}

func TestSlowStartStopsEarly(t *testing.T) {
	var calls atomic.Int32
	err := slowStart(1000, func(i int) error {
		calls.Add(1)
		if i >= 2 {
			return errors.New("quota")
		}
		return nil
	})
	require.ErrorContains(t, err, "quota")
	require.EqualValues(t, 3, calls.Load())
	calls.Store(0)
	require.NoError(t, slowStart(1000, func(int) error { calls.Add(1); return nil }))
	require.EqualValues(t, 1000, calls.Load())
}

func TestGeneratedNamesLeaveRoom(t *testing.T) {
	long := "a-very-long-deployment-name-that-goes-on-and-on-for-more-than-sixty-three-characters-"
	require.Len(t, randomName(long), 63)
	require.Regexp(t, "^web-[a-z0-9]{5}$", randomName("web-"))
}
