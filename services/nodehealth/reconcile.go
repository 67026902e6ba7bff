package nodehealth

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/conditions"
	"karve.dev/karve/internal/informer"
)

// reconcileNode carries out the plan for one node and comes back when its silence would become one.
func (s *Service) reconcileNode(ctx context.Context, key informer.Key) (time.Duration, error) {
	node, ok := s.nodes.Get("", key.Name)
	if !ok {
		return 0, nil
	}
	now := time.Now()
	last, streaming := s.beats.read(node.Name)
	p := planNode(node, last, now, s.cfg.Grace)
	if p.silent {
		s.beats.markSilent(node.Name)
	}
	node = node.DeepCopy()
	if err := s.applyPlan(ctx, node, p); err != nil {
		return 0, err
	}
	if c := conditions.Node(node, corev1.NodeReady); c != nil && c.Status != corev1.ConditionTrue {
		if err := s.markPodsNotReady(ctx, node.Name); err != nil {
			return 0, err
		}
	}
	if p.silent {
		return 0, nil
	}
	next := time.Until(last.Add(s.cfg.Grace))
	if streaming {
		wait, err := s.renewLease(ctx, node, now)
		if err != nil {
			return 0, err
		}
		if c := heard(node.Status.Conditions, last, s.cfg.ConditionsEvery); c != nil {
			node.Status.Conditions = c
			if err := s.cfg.Client.UpdateStatus(ctx, node); err != nil {
				return 0, fmt.Errorf("renew the heartbeats of node %s: %w", node.Name, err)
			}
		}
		next = min(next, wait)
	}
	return max(next, 10*time.Millisecond), nil
}

func (s *Service) applyPlan(ctx context.Context, node *corev1.Node, p plan) error {
	if p.conditions != nil {
		node.Status.Conditions = p.conditions
		if err := s.cfg.Client.UpdateStatus(ctx, node); err != nil {
			return fmt.Errorf("mark node %s unknown: %w", node.Name, err)
		}
		s.cfg.Logger.Warn("node went silent", zap.String("node", node.Name), zap.Duration("grace", s.cfg.Grace))
		s.cfg.Events.Event(node, corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", node.Name)
	}
	if p.retaint {
		node.Spec.Taints = p.taints
		if err := s.cfg.Client.Update(ctx, node); err != nil {
			return fmt.Errorf("taint node %s: %w", node.Name, err)
		}
	}
	return nil
}

// renewLease keeps the node's Lease fresh and returns when to do so next. What Kubernetes users read there is that the
// node is alive; the duration is three renewals.
func (s *Service) renewLease(ctx context.Context, node *corev1.Node, now time.Time) (time.Duration, error) {
	lease, ok := s.leases.Get(leaseNamespace, node.Name)
	if ok && lease.Spec.RenewTime != nil {
		if age := now.Sub(lease.Spec.RenewTime.Time); age < s.cfg.LeaseEvery {
			return s.cfg.LeaseEvery - age, nil
		}
	}
	renew, seconds := metav1.NewMicroTime(now), int32(3*s.cfg.LeaseEvery/time.Second)
	spec := coordinationv1.LeaseSpec{HolderIdentity: &node.Name, LeaseDurationSeconds: &seconds, RenewTime: &renew}
	if ok {
		lease = lease.DeepCopy()
		lease.Spec = spec
		err := s.cfg.Client.Update(ctx, lease)
		if apierrors.IsNotFound(err) {
			err = nil
		}
		return s.cfg.LeaseEvery, err
	}
	lease = &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: leaseNamespace, Name: node.Name,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}},
		},
		Spec: spec,
	}
	err := s.cfg.Client.Create(ctx, lease)
	if apierrors.IsAlreadyExists(err) {
		err = nil
	}
	return s.cfg.LeaseEvery, err
}

// markPodsNotReady takes the pods of a node that is not ready out of their Services.
func (s *Service) markPodsNotReady(ctx context.Context, node string) error {
	for _, pod := range s.pods.ByIndex(podsByNode, node) {
		if !conditions.PodReady(pod) {
			continue
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": map[string]any{
			"conditions": []corev1.PodCondition{{
				Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "NodeNotReady",
				Message: "node " + node + " is not ready", LastTransitionTime: metav1.Now(),
			}},
		}})
		if err != nil {
			return fmt.Errorf("encode the condition of pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
		target := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
		if err := s.cfg.Client.Patch(ctx, target, types.StrategicMergePatchType, patch, "status"); err != nil && !gone(err) {
			return fmt.Errorf("mark pod %s/%s not ready: %w", pod.Namespace, pod.Name, err)
		}
		s.cfg.Events.Event(pod, corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
	}
	return nil
}

// gone says that the object is no longer the one that was meant.
func gone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }

// reconcileEvictions deletes the pods of one node whose time under its NoExecute taints is up.
func (s *Service) reconcileEvictions(ctx context.Context, key informer.Key) (time.Duration, error) {
	node, ok := s.nodes.Get("", key.Name)
	if !ok || !hasNoExecute(node.Spec.Taints) {
		return 0, nil
	}
	now := time.Now()
	var next time.Duration
	for _, pod := range s.pods.ByIndex(podsByNode, node.Name) {
		at, ok := evictAt(pod, node.Spec.Taints, now)
		if !ok || pod.DeletionTimestamp != nil {
			continue
		}
		if wait := at.Sub(now); wait > 0 {
			if next == 0 || wait < next {
				next = wait
			}
			continue
		}
		s.cfg.Events.Event(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s/%s", pod.Namespace, pod.Name)
		if err := s.cfg.Client.Delete(ctx, pod, client.DeleteOptions{UID: pod.UID}); err != nil && !gone(err) {
			return 0, fmt.Errorf("evict pod %s/%s from node %s: %w", pod.Namespace, pod.Name, node.Name, err)
		}
	}
	return next, nil
}
