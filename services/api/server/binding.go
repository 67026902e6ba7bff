package server

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/registry"
)

var gvkBinding = corev1.SchemeGroupVersion.WithKind("Binding")

// bind puts a pod on a node.
func (s *Server) bind(ctx context.Context, r *request, req *apiv1.CreateRequest) (*apiv1.Result, error) {
	strict, err := strictnessOf(req.GetOptions())
	if err != nil {
		return nil, err
	}
	binding := &corev1.Binding{}
	if err := r.decodeBody(req.GetObject(), gvkBinding, binding, strict); err != nil {
		return nil, err
	}
	if binding.Name != "" && binding.Name != r.name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if err := checkBinding(binding, r.name); err != nil {
		return nil, err
	}
	if err := s.labelPlace(ctx, binding); err != nil {
		return nil, err
	}
	if err := s.admitPart(ctx, r, admission.Create, gvkBinding, binding, nil, req.GetOptions().GetDryRun()); err != nil {
		return nil, err
	}
	_, err = s.modify(ctx, r, req.GetOptions().GetDryRun(), func(old registry.Object) (Outcome, error) {
		pod := old.(*corev1.Pod)
		if err := assign(pod, binding, metav1.NewTime(r.now).Rfc3339Copy()); err != nil {
			return Outcome{}, apierrors.NewConflict(corev1.Resource("pods/binding"), r.name, err)
		}
		return Outcome{Next: pod}, nil
	})
	if err != nil {
		return nil, err
	}
	return r.done(req.GetAs())
}

// labelPlace adds to a binding's labels, which the pod gets, where its node is.
func (s *Server) labelPlace(ctx context.Context, b *corev1.Binding) error {
	nodes, err := s.Settled(ctx, corev1.SchemeGroupVersion.WithKind("Node"))
	if err != nil || nodes == nil {
		return err
	}
	node, ok := nodes.Get("", b.Target.Name)
	if !ok {
		return nil
	}
	labels := node.Labels()
	for _, key := range admission.TopologyLabels {
		if labels.Has(key) {
			metav1.SetMetaDataLabel(&b.ObjectMeta, key, labels.Get(key))
		}
	}
	return nil
}

func checkBinding(b *corev1.Binding, name string) error {
	var errs field.ErrorList
	target := field.NewPath("target")
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		errs = append(errs, field.NotSupported(target.Child("kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		errs = append(errs, field.Required(target.Child("name"), ""))
	}
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(gvkBinding.GroupKind(), name, errs)
}

// assign writes a binding into a pod, or says why it cannot be.
func assign(pod *corev1.Pod, b *corev1.Binding, now metav1.Time) error {
	switch {
	case b.UID != "" && b.UID != pod.UID:
		return fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", b.UID, pod.UID)
	case b.ResourceVersion != "" && b.ResourceVersion != pod.ResourceVersion:
		return errors.New(textModified)
	case pod.DeletionTimestamp != nil:
		return fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return fmt.Errorf("pod %s is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) > 0:
		return fmt.Errorf("pod %s has non-empty .spec.schedulingGates", pod.Name)
	}
	pod.Spec.NodeName, pod.Status.NominatedNodeName = b.Target.Name, ""
	for key, value := range b.Annotations {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, key, value)
	}
	for key, value := range b.Labels {
		metav1.SetMetaDataLabel(&pod.ObjectMeta, key, value)
	}
	setPodCondition(&pod.Status, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: now})
	return nil
}

func setPodCondition(status *corev1.PodStatus, c corev1.PodCondition) {
	for i := range status.Conditions {
		if status.Conditions[i].Type == c.Type {
			if status.Conditions[i].Status == c.Status {
				c.LastTransitionTime = status.Conditions[i].LastTransitionTime
			}
			status.Conditions[i] = c
			return
		}
	}
	status.Conditions = append(status.Conditions, c)
}
