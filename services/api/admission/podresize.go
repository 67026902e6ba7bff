package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	helpers "k8s.io/component-helpers/resource"
)

// podResize refuses to let a pod grow beyond all that its node has.
type podResize struct{ Reader }

var _ Validator = podResize{}

// Causes of a refused resize.
const (
	causeCapacity metav1.CauseType = "NodeCapacity"
	causePlatform metav1.CauseType = "UnsupportedPlatform"
)

// Admit implements Plugin.
func (podResize) Admit(context.Context, *Attributes) error { return nil }

// Validate implements Validator.
func (p podResize) Validate(ctx context.Context, a *Attributes) error {
	if a.Operation != Update || a.Subresource != "resize" {
		return nil
	}
	pod, ok := a.Object.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" || a.Old.GetGeneration() == pod.Generation {
		return nil
	}
	obj, err := p.Read(ctx, gvkNode, "", pod.Spec.NodeName)
	if apierrors.IsNotFound(err) {
		return a.forbidden(fmt.Errorf("node %q not found", pod.Spec.NodeName))
	}
	if err != nil {
		return err
	}
	node := obj.(*corev1.Node)
	if os, ok := node.Labels[corev1.LabelOSStable]; ok && os != "linux" {
		return a.refusedResize(causePlatform, fmt.Sprintf("pod resize is only supported on linux nodes, node %q is %q", node.Name, os))
	}
	if short := shortOf(helpers.PodRequests(pod, helpers.PodResourcesOptions{}), node.Status.Allocatable); len(short) > 0 {
		return a.refusedResize(causeCapacity, "node didn't have enough allocatable resources: "+strings.Join(short, "; "))
	}
	return nil
}

// shortOf says of what a node has too little.
func shortOf(requests, allocatable corev1.ResourceList) (out []string) {
	if cpu, have := requests.Cpu(), allocatable.Cpu(); cpu.Cmp(*have) > 0 {
		out = append(out, fmt.Sprintf("cpu, requested: %d, allocatable: %d", cpu.MilliValue(), have.MilliValue()))
	}
	if memory, have := requests.Memory(), allocatable.Memory(); memory.Cmp(*have) > 0 {
		out = append(out, fmt.Sprintf("memory, requested: %d, allocatable: %d", memory.Value(), have.Value()))
	}
	return out
}

func (a *Attributes) refusedResize(cause metav1.CauseType, why string) error {
	err := a.forbidden(errors.New(why))
	var refused *apierrors.StatusError
	if errors.As(err, &refused) {
		refused.ErrStatus.Details.Causes = append(refused.ErrStatus.Details.Causes, metav1.StatusCause{Type: cause})
	}
	return err
}
