package statefulset

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/replication/ownership"
)

// makeClaims makes a pod's volume claims that are not there yet. With the policy that claims go with the set, they
// belong to it; otherwise they outlive it.
func (r *Controller) makeClaims(ctx context.Context, set *appsv1.StatefulSet, pod string) error {
	for _, c := range claims(set, pod) {
		if policy := set.Spec.PersistentVolumeClaimRetentionPolicy; policy != nil && policy.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType {
			ref, err := ownership.Reference(set)
			if err != nil {
				return err
			}
			c.OwnerReferences = []metav1.OwnerReference{ref}
		}
		err := r.client.Create(ctx, c)
		switch {
		case err == nil:
			r.events.Event(set, corev1.EventTypeNormal, "SuccessfulCreate", "create Claim %s Pod %s in StatefulSet %s success", c.Name, pod, set.Name)
		case !apierrors.IsAlreadyExists(err):
			r.events.Event(set, corev1.EventTypeWarning, "FailedCreate", "create Claim %s for Pod %s in StatefulSet %s failed error: %v", c.Name, pod, set.Name, err)
			return fmt.Errorf("create claim %s: %w", c.Name, err)
		}
	}
	return nil
}

// passOnClaims gives the claims of pods that are about to go to these pods, where the policy is that claims go when the
// set is scaled down: they are collected with them.
func (r *Controller) passOnClaims(ctx context.Context, set *appsv1.StatefulSet, condemned []*corev1.Pod) error {
	policy := set.Spec.PersistentVolumeClaimRetentionPolicy
	if policy == nil || policy.WhenScaled != appsv1.DeletePersistentVolumeClaimRetentionPolicyType {
		return nil
	}
	for _, pod := range condemned {
		ref := metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
		body, err := json.Marshal(map[string]any{"metadata": map[string]any{"ownerReferences": []any{ref, map[string]any{"$patch": "delete", "uid": set.UID}}}})
		if err != nil {
			return fmt.Errorf("encode owner of a claim: %w", err)
		}
		for _, c := range claims(set, pod.Name) {
			var target client.Object = &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name}}
			if err := r.client.Patch(ctx, target, types.StrategicMergePatchType, body, ""); err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("pass claim %s on: %w", c.Name, err)
			}
		}
	}
	return nil
}
