package disruption

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/informer"
	"karve.dev/karve/services/replication/pods"
)

// target returns the condition by which a running pod says that it is about to be disrupted, nil where it is not, and
// where it goes or has gone already.
func target(p *corev1.Pod) *corev1.PodCondition {
	if p == nil || !pods.Active(p) {
		return nil
	}
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}

// clear takes the word DisruptionTarget back from a pod that is still there a while after: whoever announced its
// deletion has failed or changed its mind.
func (r *Controller) clear(ctx context.Context, key informer.Key) (time.Duration, error) {
	p, _ := r.pods.Get(key.Namespace, key.Name)
	c := target(p)
	if c == nil {
		return 0, nil
	}
	if wait := time.Until(c.LastTransitionTime.Add(evictionTime)); wait > 0 {
		return wait, nil
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": p.UID},
		"status": map[string]any{"conditions": []any{map[string]any{
			"type": corev1.DisruptionTarget, "status": corev1.ConditionFalse, "lastTransitionTime": metav1.Now(), "reason": c.Reason, "message": c.Message,
		}}},
	})
	if err != nil {
		return 0, fmt.Errorf("clear the disruption of pod %s: %w", key, err)
	}
	out := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}}
	if err := r.client.Patch(ctx, out, types.StrategicMergePatchType, body, "status"); err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("clear the disruption of pod %s: %w", key, err)
	}
	return 0, nil
}
