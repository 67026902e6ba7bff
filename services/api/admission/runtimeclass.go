package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

var gvkRuntimeClass = nodev1.SchemeGroupVersion.WithKind("RuntimeClass")

// runtimeClass gives pods the overhead of their runtime class, and where pods of it may run.
type runtimeClass struct{ Reader }

var _ Validator = runtimeClass{}

// class returns a new pod with its runtime class; either may be nil.
func (p runtimeClass) class(ctx context.Context, a *Attributes) (*corev1.Pod, *nodev1.RuntimeClass, error) {
	if a.Operation != Create || !a.Is("", "Pod") {
		return nil, nil, nil
	}
	pod := a.Object.(*corev1.Pod)
	if pod.Spec.RuntimeClassName == nil {
		return pod, nil, nil
	}
	obj, err := p.Read(ctx, gvkRuntimeClass, "", *pod.Spec.RuntimeClassName)
	if apierrors.IsNotFound(err) {
		return pod, nil, a.forbidden(fmt.Errorf("pod rejected: RuntimeClass %q not found", *pod.Spec.RuntimeClassName))
	}
	if err != nil {
		return pod, nil, err
	}
	return pod, obj.(*nodev1.RuntimeClass), nil
}

// Admit implements Plugin.
func (p runtimeClass) Admit(ctx context.Context, a *Attributes) error {
	pod, class, err := p.class(ctx, a)
	if err != nil || class == nil {
		return err
	}
	if class.Overhead != nil {
		if len(pod.Spec.Overhead) > 0 && !equality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead) {
			return a.forbidden(errOverhead)
		}
		pod.Spec.Overhead = class.Overhead.PodFixed
	}
	if class.Scheduling == nil {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(class.Scheduling.NodeSelector)) {
		want := class.Scheduling.NodeSelector[key]
		if has, ok := pod.Spec.NodeSelector[key]; ok && has != want {
			return a.forbidden(fmt.Errorf("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, want, key, has))
		}
		if pod.Spec.NodeSelector == nil {
			pod.Spec.NodeSelector = map[string]string{}
		}
		pod.Spec.NodeSelector[key] = want
	}
	pod.Spec.Tolerations = mergeTolerations(pod.Spec.Tolerations, class.Scheduling.Tolerations)
	return nil
}

var errOverhead = errors.New("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")

// Validate implements Validator.
func (p runtimeClass) Validate(ctx context.Context, a *Attributes) error {
	pod, class, err := p.class(ctx, a)
	switch {
	case err != nil || pod == nil:
		return err
	case class != nil && class.Overhead != nil:
		if !equality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead) {
			return a.forbidden(errOverhead)
		}
	case pod.Spec.Overhead != nil:
		return a.forbidden(errors.New("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
	}
	return nil
}

// mergeTolerations adds more to have; what another one tolerates already is left out.
func mergeTolerations(have, more []corev1.Toleration) []corev1.Toleration {
	all := append(slices.Clone(have), more...)
	var out []corev1.Toleration
	for i, t := range all {
		covered := slices.ContainsFunc(out, func(other corev1.Toleration) bool { return covers(other, t) })
		// Of equal ones the first stays.
		covered = covered || slices.ContainsFunc(all[i+1:], func(other corev1.Toleration) bool {
			return !equality.Semantic.DeepEqual(t, other) && covers(other, t)
		})
		if !covered {
			out = append(out, t)
		}
	}
	return out
}

// covers reports whether one tolerates everything that t does.
func covers(one, t corev1.Toleration) bool {
	exists := one.Operator == corev1.TolerationOpExists
	switch {
	case equality.Semantic.DeepEqual(one, t):
		return true
	case t.Key != one.Key && (one.Key != "" || !exists):
		return false
	case t.Effect != one.Effect && one.Effect != "":
		return false
	case one.Effect == corev1.TaintEffectNoExecute && one.TolerationSeconds != nil &&
		(t.TolerationSeconds == nil || *t.TolerationSeconds > *one.TolerationSeconds):
		return false
	}
	return exists || t.Operator == corev1.TolerationOpEqual && t.Value == one.Value
}
