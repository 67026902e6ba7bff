package server_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/client"
)

func TestAutoscalersOfBothVersionsAreTheSame(t *testing.T) {
	w := newWorld(t)
	use := int32(55)
	old := &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: named("web"), Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv1.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
		MaxReplicas:    3, TargetCPUUtilizationPercentage: &use,
	}}
	require.NoError(t, w.Create(w.ctx, old))
	require.EqualValues(t, 1, *old.Spec.MinReplicas)
	require.EqualValues(t, 55, *old.Spec.TargetCPUUtilizationPercentage)

	h := &autoscalingv2.HorizontalPodAutoscaler{}
	require.NoError(t, w.Get(w.ctx, h, "default", "web"))
	require.Equal(t, old.UID, h.UID)
	require.EqualValues(t, 55, *h.Spec.Metrics[0].Resource.Target.AverageUtilization)

	// What version 1 has no field for survives a change by way of it.
	five := resource.MustParse("5")
	h.Spec.Metrics = append(h.Spec.Metrics, autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{
		Metric: autoscalingv2.MetricIdentifier{Name: "rps"}, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: &five},
	}})
	window := int32(30)
	h.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &window}}
	require.NoError(t, w.Update(w.ctx, h))
	want := h.Spec.DeepCopy()
	require.NoError(t, w.Patch(w.ctx, old, types.StrategicMergePatchType, []byte(`{"spec":{"maxReplicas":7}}`), ""))
	require.Contains(t, old.Annotations["autoscaling.alpha.kubernetes.io/metrics"], `"metricName":"rps"`)
	require.NoError(t, w.Get(w.ctx, h, "default", "web"))
	want.MaxReplicas = 7
	require.Equal(t, want, &h.Spec)
	require.Empty(t, h.Annotations)

	ref := &apiv1.ObjectRef{ApiVersion: "autoscaling/v1", Kind: "HorizontalPodAutoscaler", Namespace: "default"}
	list, err := w.rpc.List(w.ctx, &apiv1.ListRequest{Ref: ref, As: inJSON(apiv1.Form_FORM_OBJECT)})
	require.NoError(t, err)
	require.Contains(t, string(list.Object.Data), `"targetCPUUtilizationPercentage":55`)
	list, err = w.rpc.List(w.ctx, &apiv1.ListRequest{Ref: ref, As: inJSON(apiv1.Form_FORM_TABLE)})
	require.NoError(t, err)
	table := &metav1.Table{}
	require.NoError(t, json.Unmarshal(list.Object.Data, table))
	require.Equal(t, "Deployment/web", table.Rows[0].Cells[1])
	typed := &autoscalingv1.HorizontalPodAutoscalerList{}
	require.NoError(t, w.List(w.ctx, typed, client.ListOptions{Namespace: "default"}))
	require.EqualValues(t, 7, typed.Items[0].Spec.MaxReplicas)

	require.NoError(t, w.Delete(w.ctx, old, client.DeleteOptions{}))
	require.Error(t, w.Get(w.ctx, h, "default", "web"))
}

func TestEventsOfBothGroupsAreTheSame(t *testing.T) {
	w := newWorld(t)
	watcher, err := w.Watch(w.ctx, &eventsv1.Event{}, client.ListOptions{Namespace: "default", FieldSelector: "regarding.name=p"}, "")
	require.NoError(t, err)
	about := corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p"}
	ev := &eventsv1.Event{
		ObjectMeta: named("p.1"), EventTime: metav1.NewMicroTime(time.Now()), ReportingController: "test", ReportingInstance: "test-1",
		Action: "Look", Reason: "Looked", Regarding: about, Note: "seen", Type: corev1.EventTypeNormal,
	}
	require.NoError(t, w.Create(w.ctx, ev))
	stored := &corev1.Event{}
	require.NoError(t, w.Get(w.ctx, stored, "default", "p.1"))
	require.Equal(t, "seen", stored.Message)
	require.Equal(t, about, stored.InvolvedObject)
	seen := &eventsv1.Event{}
	for seen.Note == "" {
		next, err := watcher.Next()
		require.NoError(t, err)
		require.Equal(t, "events.k8s.io/v1", next.Object.ApiVersion)
		require.NoError(t, seen.Unmarshal(next.Object.Data))
	}
	require.Equal(t, "p.1", seen.Name)

	require.NoError(t, w.Patch(w.ctx, ev, types.StrategicMergePatchType, []byte(`{"series":{"count":2,"lastObservedTime":"2030-01-01T00:00:00.000000Z"}}`), ""))
	require.EqualValues(t, 2, ev.Series.Count)
	require.NoError(t, w.Get(w.ctx, stored, "default", "p.1"))
	require.EqualValues(t, 2, stored.Series.Count)

	legacy := &corev1.Event{ObjectMeta: named("q.1"), InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "q"}, Reason: "R", Message: "m", Type: "Normal", Count: 3}
	require.NoError(t, w.Create(w.ctx, legacy))
	require.NoError(t, w.Get(w.ctx, ev, "default", "q.1"))
	require.Equal(t, "m", ev.Note)
	require.EqualValues(t, 3, ev.DeprecatedCount)
	ev = &eventsv1.Event{ObjectMeta: named("r.1"), Regarding: about, Reason: "R", Type: "Odd"}
	require.ErrorContains(t, w.Create(w.ctx, ev), "eventTime: Required value")
}

func TestPatchesThatDoNotFitAreShownShort(t *testing.T) {
	w := newWorld(t)
	p := newPod("p")
	require.NoError(t, w.Create(w.ctx, p))
	err := w.Patch(w.ctx, p, types.StrategicMergePatchType, []byte(`{"spec":{"priority":"x"}}`), "")
	require.ErrorContains(t, err, `is invalid: patch: Invalid value: "map[spec:map[priority:x]]": `)
	require.NotContains(t, err.Error(), "containers")
}
