package autoscaler

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/events"
	"karve.dev/karve/services/api/apitest"
)

// TestWhoScalesMeanwhileIsNotOverruled: somebody who scales to zero, which stops the autoscaler, must not find replicas again.
func TestWhoScalesMeanwhileIsNotOverruled(t *testing.T) {
	c := apitest.Start(t).Client(apitest.Admin)
	web := map[string]string{"app": "web"}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.DeploymentSpec{Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: web}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: web}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
		}},
	}
	require.NoError(t, c.Create(t.Context(), deployment))
	kind := appsv1.SchemeGroupVersion.WithKind("Deployment")
	next := &turn{
		Controller: &Controller{client: c, events: events.New(c, "test", "", zap.NewNop())},
		scaler:     &autoscalingv2.HorizontalPodAutoscaler{}, state: &state{}, now: time.Now(),
	}
	seen, err := c.Scale(t.Context(), kind, "default", "web")
	require.NoError(t, err)
	deployment.Spec.Replicas = new(int32(0))
	require.NoError(t, c.Update(t.Context(), deployment))
	require.True(t, apierrors.IsConflict(next.rescale(t.Context(), kind, seen, 3, "busy")))
	require.Empty(t, next.scaler.Status.Conditions, "that is no trouble")

	require.NoError(t, c.Get(t.Context(), deployment, "default", "web"))
	require.Zero(t, *deployment.Spec.Replicas)
	seen, err = c.Scale(t.Context(), kind, "default", "web")
	require.NoError(t, err)
	require.NoError(t, next.rescale(t.Context(), kind, seen, 3, "busy"))
}
