package autoscaler

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// crowd makes pods that request 100m and use what is given, in thousandths: -1 is ready but unmeasured, -2 is pending.
func crowd(uses ...int64) (pods []*corev1.Pod, samples map[string]sample) {
	samples = map[string]sample{}
	for i, use := range uses {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("p", i)}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
		old := metav1.Time{Time: now.Add(-time.Hour)}
		p.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &old, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: old}}}
		switch use {
		case -2:
			p.Status.Phase = corev1.PodPending
		case -1:
		default:
			samples[p.Name] = sample{value: use, at: now, window: 10 * time.Second}
		}
		pods = append(pods, p)
	}
	return pods, samples
}

func TestDemand(t *testing.T) {
	half := goal{resource: corev1.ResourceCPU, percent: 50}
	for what, c := range map[string]struct {
		goal goal
		uses []int64
		want int32
	}{
		"twice too busy": {half, []int64{100, 100}, 4},
		"idle":           {half, []int64{10, 10, 10, 10}, 1},
		"near enough":    {half, []int64{54, 54}, 2},
		"just beyond":    {half, []int64{56, 56}, 3},
		"an amount":      {goal{resource: corev1.ResourceCPU, amount: 30}, []int64{90, 30}, 4},
		"nothing used":   {half, []int64{0, 0}, 0},
		"unmeasured pods count as busy when shrinking": {half, []int64{10, 10, -1}, 3},
		"and as idle when growing":                     {half, []int64{200, 200, -1}, 8},
		"pending ones are idle when growing":           {half, []int64{200, -2, -2, -2}, 4},
		"and do not count when shrinking":              {half, []int64{20, -2}, 1},
	} {
		pods, samples := crowd(c.uses...)
		got, err := demanded(int32(len(pods)), c.goal, pods, samples, toleranceOf(nil), now)
		require.NoError(t, err, what)
		require.Equal(t, c.want, got.replicas, what)
	}

	pods, samples := crowd(100)
	pods[0].Status.StartTime = &metav1.Time{Time: now.Add(-10 * time.Second)}
	pods[0].Status.Conditions[0].LastTransitionTime = metav1.Time{Time: now.Add(-5 * time.Second)}
	_, err := demanded(1, half, pods, samples, toleranceOf(nil), now)
	require.ErrorContains(t, err, "pods might be unready", "what was measured began before the pod was ready")
	pods[0].Spec.Containers[0].Resources.Requests = nil
	pods[0].Status.Conditions[0].LastTransitionTime = metav1.Time{Time: now.Add(-time.Hour)}
	_, err = demanded(1, half, pods, samples, toleranceOf(nil), now)
	require.ErrorContains(t, err, "missing request for cpu in container app of Pod p0")
}

func TestPace(t *testing.T) {
	usual := paceOf(nil)
	t.Run("fewer only after five minutes", func(t *testing.T) {
		h := &history{}
		for minute, want := range []int32{5, 5, 5, 5, 5, 2} {
			at := now.Add(time.Duration(minute) * time.Minute)
			advice := int32(2)
			if minute == 0 {
				advice = 5
			}
			h.forget(usual, at)
			got, _ := h.settle(usual, 5, advice, at)
			require.Equal(t, want, got, "minute %d", minute)
		}
	})
	t.Run("doubled at most, or four more", func(t *testing.T) {
		h := &history{}
		got, why := h.bounded(usual, 1, 50, 1, 100, now)
		require.EqualValues(t, 5, got)
		require.Equal(t, tooFast, why)
		h.changed(1, 5, now)
		got, _ = h.bounded(usual, 5, 50, 1, 100, now.Add(5*time.Second))
		require.EqualValues(t, 5, got, "the period has not passed")
		got, _ = h.bounded(usual, 5, 50, 1, 100, now.Add(16*time.Second))
		require.EqualValues(t, 10, got)
		got, why = h.bounded(usual, 5, 50, 1, 7, now.Add(16*time.Second))
		require.EqualValues(t, 7, got)
		require.Equal(t, tooMany, why)
	})
	t.Run("as somebody wishes", func(t *testing.T) {
		slow := autoscalingv2.MinChangePolicySelect
		never := autoscalingv2.DisabledPolicySelect
		window := int32(60)
		p := paceOf(&autoscalingv2.HorizontalPodAutoscalerBehavior{
			ScaleUp: &autoscalingv2.HPAScalingRules{SelectPolicy: &never},
			ScaleDown: &autoscalingv2.HPAScalingRules{SelectPolicy: &slow, StabilizationWindowSeconds: &window, Policies: []autoscalingv2.HPAScalingPolicy{
				{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 60}, {Type: autoscalingv2.PercentScalingPolicy, Value: 10, PeriodSeconds: 60}}},
		})
		h := &history{}
		got, _ := h.bounded(p, 20, 40, 1, 100, now)
		require.EqualValues(t, 20, got)
		got, why := h.bounded(p, 20, 2, 1, 100, now)
		require.EqualValues(t, 18, got, "a tenth is fewer than four")
		require.Equal(t, tooFastIn, why)
		got, why = h.bounded(p, 2, 0, 1, 100, now)
		require.EqualValues(t, 1, got)
		require.Equal(t, tooFew, why)
	})
}
