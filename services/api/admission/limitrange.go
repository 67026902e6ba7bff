package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	helpers "k8s.io/component-helpers/resource"
)

var gvkLimitRange = corev1.SchemeGroupVersion.WithKind("LimitRange")

// annotationLimits says in a pod what it got from LimitRanges.
const annotationLimits = "kubernetes.io/limit-ranger"

// limitRanges gives containers the requests and limits that their namespace's LimitRanges say, and refuses pods and
// claims that leave the ranges.
type limitRanges struct{ Reader }

var _ Validator = limitRanges{}

// limited reports whether a write is about something that ranges limit. A pod's containers change only by a resize.
func limited(a *Attributes) bool {
	if a.Operation == Delete || a.Object == nil || a.Old != nil && a.Old.GetDeletionTimestamp() != nil {
		return false
	}
	switch {
	case a.Kind.Group != "":
		return false
	case a.Kind.Kind == "Pod":
		return a.Subresource == "" && a.Operation == Create || a.Subresource == "resize" && a.Operation == Update
	}
	return a.Is("", "PersistentVolumeClaim")
}

func (p limitRanges) ranges(ctx context.Context, a *Attributes) ([]*corev1.LimitRange, error) {
	if !limited(a) {
		return nil, nil
	}
	objects, err := p.ReadAll(ctx, gvkLimitRange, a.Namespace)
	if err != nil {
		return nil, fmt.Errorf("read the limit ranges of %s: %w", a.Namespace, err)
	}
	out := make([]*corev1.LimitRange, len(objects))
	for i, obj := range objects {
		out[i] = obj.(*corev1.LimitRange)
	}
	return out, nil
}

// Admit implements Plugin.
func (p limitRanges) Admit(ctx context.Context, a *Attributes) error {
	pod, ok := a.Object.(*corev1.Pod)
	if !ok {
		return nil
	}
	ranges, err := p.ranges(ctx, a)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		fillIn(pod, r)
	}
	return nil
}

// Validate implements Validator.
func (p limitRanges) Validate(ctx context.Context, a *Attributes) error {
	ranges, err := p.ranges(ctx, a)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		var errs []error
		for i := range r.Spec.Limits {
			errs = append(errs, outside(&r.Spec.Limits[i], a.Object)...)
		}
		if err := utilerrors.NewAggregate(errs); err != nil {
			return a.forbidden(err)
		}
	}
	return nil
}

// fillIn gives the containers of a pod what they leave open and a LimitRange has a default for.
func fillIn(pod *corev1.Pod, r *corev1.LimitRange) {
	limits, requests := corev1.ResourceList{}, corev1.ResourceList{}
	for _, item := range r.Spec.Limits {
		if item.Type == corev1.LimitTypeContainer {
			maps.Copy(limits, item.Default)
			maps.Copy(requests, item.DefaultRequest)
		}
	}
	var notes []string
	for _, of := range []struct {
		what       string
		containers []corev1.Container
	}{{"container", pod.Spec.Containers}, {"init container", pod.Spec.InitContainers}} {
		for i := range of.containers {
			c := &of.containers[i]
			for _, list := range []struct {
				what string
				into *corev1.ResourceList
				from corev1.ResourceList
			}{{"request", &c.Resources.Requests, requests}, {"limit", &c.Resources.Limits, limits}} {
				if given := addMissing(list.into, list.from); len(given) > 0 {
					notes = append(notes, fmt.Sprintf("%s %s for %s %s", strings.Join(given, ", "), list.what, of.what, c.Name))
				}
			}
		}
	}
	if len(notes) == 0 {
		return
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[annotationLimits] = "LimitRanger plugin set: " + strings.Join(notes, "; ")
}

// addMissing adds what a list does not have, and returns the names, in order.
func addMissing(into *corev1.ResourceList, from corev1.ResourceList) (given []string) {
	for name, q := range from {
		if _, has := (*into)[name]; has {
			continue
		}
		if *into == nil {
			*into = corev1.ResourceList{}
		}
		(*into)[name] = q.DeepCopy()
		given = append(given, string(name))
	}
	slices.Sort(given)
	return given
}

// outside says how a pod or claim leaves a range.
func outside(item *corev1.LimitRangeItem, obj any) (errs []error) {
	switch o := obj.(type) {
	case *corev1.PersistentVolumeClaim:
		if item.Type == corev1.LimitTypePersistentVolumeClaim {
			return claimOutside(item, o.Spec.Resources.Requests)
		}
	case *corev1.Pod:
		switch item.Type {
		case corev1.LimitTypeContainer:
			for _, containers := range [][]corev1.Container{o.Spec.Containers, o.Spec.InitContainers} {
				for i := range containers {
					errs = append(errs, computeOutside(item, containers[i].Resources.Requests, containers[i].Resources.Limits)...)
				}
			}
		case corev1.LimitTypePod:
			options := helpers.PodResourcesOptions{ExcludeOverhead: true}
			errs = computeOutside(item, helpers.PodRequests(o, options), helpers.PodLimits(o, options))
		}
	}
	return errs
}
