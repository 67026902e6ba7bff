package gateway_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
)

// TestKubectlAutoscales uses version 1 as kubectl 1.32 does, and version 2.
func TestKubectlAutoscales(t *testing.T) {
	k := cluster(t).kubectl(t)
	k.run("apply -f -", deployment)
	require.Contains(t, k.run("autoscale deploy my-app --max=3 --cpu-percent=70"), "horizontalpodautoscaler.autoscaling/my-app autoscaled")
	require.Regexp(t, `my-app +Deployment/my-app +cpu: <unknown>/70% +1 +3 +0`, k.run("get hpa"))
	require.Equal(t, "70", k.run("get horizontalpodautoscalers.v1.autoscaling my-app -o jsonpath={.spec.targetCPUUtilizationPercentage}"))
	require.Equal(t, "70", k.run("get horizontalpodautoscalers.v2.autoscaling my-app -o jsonpath={.spec.metrics[0].resource.target.averageUtilization}"))
	require.Contains(t, k.run("apply -f -", `
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: other}
spec: {maxReplicas: 4, targetCPUUtilizationPercentage: 10, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: my-app}}
`), "created")
	require.Contains(t, k.run("explain hpa --api-version=autoscaling/v1"), "autoscaling")
	require.Contains(t, k.run("api-versions"), "autoscaling/v1\nautoscaling/v2\n")
}

// TestClientGoRecordsEvents writes events in the group that newer programs use; kubectl shows them.
func TestClientGoRecordsEvents(t *testing.T) {
	w := cluster(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	typed := w.clientset(t)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default", UID: "1"}}
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: typed.EventsV1()})
	require.NoError(t, broadcaster.StartRecordingToSinkWithContext(ctx))
	defer broadcaster.Shutdown()
	recorder := broadcaster.NewRecorder(scheme.Scheme, "example.com/test")
	record := func() { recorder.Eventf(pod, nil, corev1.EventTypeNormal, "Looked", "Look", "seen by %s", "me") }
	stored := func(fits func(*corev1.Event) bool) {
		t.Helper()
		require.Eventually(t, func() bool {
			list, err := typed.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=p"})
			return err == nil && len(list.Items) == 1 && fits(&list.Items[0])
		}, 15*time.Second, 20*time.Millisecond)
	}
	record()
	stored(func(e *corev1.Event) bool { return e.Message == "seen by me" })
	record()
	stored(func(e *corev1.Event) bool { return e.Series != nil })
	require.Regexp(t, `Normal +Looked +Pod/p +seen by me`, w.kubectl(t).run("events"))
	require.Contains(t, w.kubectl(t).run("get events.events.k8s.io"), "seen by me")
}
