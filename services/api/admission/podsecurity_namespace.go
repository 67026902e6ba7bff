package admission

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	standards "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// Bounds of the look at a namespace's pods when its level changes.
const (
	mostPodsChecked = 3000
	podsCheckedFor  = time.Second
)

var gvkPod = corev1.SchemeGroupVersion.WithKind("Pod")

// checkNamespace refuses labels that make no sense, and warns of pods that a stricter level would not let in.
func (p podSecurity) checkNamespace(ctx context.Context, a *Attributes, ns *corev1.Namespace) error {
	if a.Subresource != "" {
		return nil
	}
	wanted, bad := levels(ns.Labels)
	before := privileged
	if old, ok := a.Old.(*corev1.Namespace); ok {
		was, badBefore := levels(old.Labels)
		if before = was; reflect.DeepEqual(bad, badBefore) {
			bad = nil
		}
	}
	if len(bad) > 0 {
		return apierrors.NewInvalid(a.Kind.GroupKind(), a.Name, bad)
	}
	if a.Operation == Create || wanted.Enforce == before.Enforce || wanted.Enforce.Level == standards.LevelPrivileged ||
		wanted.Enforce.Version == before.Enforce.Version && standards.CompareLevels(wanted.Enforce.Level, before.Enforce.Level) < 1 {
		return nil
	}
	pods, err := p.ReadAll(ctx, gvkPod, a.Name)
	if err != nil {
		a.Warning("failed to list pods while checking new PodSecurity enforce level")
		return nil
	}
	all := make([]*corev1.Pod, len(pods))
	for i, obj := range pods {
		all[i] = obj.(*corev1.Pod)
	}
	for _, text := range violations(a.Name, wanted.Enforce, onePerOwnerFirst(all), time.Now().Add(podsCheckedFor)) {
		a.Warning(text)
	}
	return nil
}

// onePerOwnerFirst puts the further pods of a controller behind everything else: they are alike.
func onePerOwnerFirst(pods []*corev1.Pod) []*corev1.Pod {
	seen := map[types.UID]bool{}
	var first, rest []*corev1.Pod
	for _, pod := range pods {
		owner := metav1.GetControllerOfNoCopy(pod)
		if owner != nil && seen[owner.UID] {
			rest = append(rest, pod)
			continue
		}
		if owner != nil {
			seen[owner.UID] = true
		}
		first = append(first, pod)
	}
	return append(first, rest...)
}

// violations are the warnings about pods that violate a level.
func violations(namespace string, level standards.LevelVersion, pods []*corev1.Pod, deadline time.Time) []string {
	byReason := map[string][]string{}
	checked := 0
	for _, pod := range pods[:min(len(pods), mostPodsChecked)] {
		if time.Now().After(deadline) {
			break
		}
		checked++
		if r := policy.AggregateCheckResults(evaluator().EvaluatePod(level, &pod.ObjectMeta, &pod.Spec)); !r.Allowed {
			byReason[r.ForbiddenReason()] = append(byReason[r.ForbiddenReason()], pod.Name)
		}
	}
	var out, details []string
	if checked < len(pods) {
		out = append(out, fmt.Sprintf("new PodSecurity enforce level only checked against the first %d of %d existing pods", checked, len(pods)))
	}
	if len(byReason) > 0 {
		out = append(out, fmt.Sprintf("existing pods in namespace %q violate the new PodSecurity enforce level %q", namespace, level.String()))
	}
	for reason, names := range byReason {
		others := ""
		switch n := len(names) - 1; {
		case n == 1:
			others = " (and 1 other pod)"
		case n > 1:
			others = fmt.Sprintf(" (and %d other pods)", n)
		}
		details = append(details, slices.Min(names)+others+": "+reason)
	}
	slices.Sort(details)
	return append(out, details...)
}
