package admission

import (
	"context"
	"fmt"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	standards "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"karve.dev/karve/services/api/registry"
)

// podSecurity holds pods to the level of the Pod Security Standards that their namespace asks for by its labels. What
// makes pods is warned of only.
type podSecurity struct{ Reader }

var _ Validator = podSecurity{}

const podSecurityPrefix = "pod-security.kubernetes.io/"

// privileged is what holds where no label says anything.
var privileged = func() standards.Policy {
	all := standards.LevelVersion{Level: standards.LevelPrivileged, Version: standards.LatestVersion()}
	return standards.Policy{Enforce: all, Audit: all, Warn: all}
}()

// evaluator is made when the first namespace asks for a level.
var evaluator = sync.OnceValue(func() policy.Evaluator {
	e, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		panic(fmt.Sprintf("the checks of the Pod Security Standards contradict each other: %v", err))
	}
	return e
})

// Admit implements Plugin.
func (podSecurity) Admit(context.Context, *Attributes) error { return nil }

// Validate implements Validator.
func (p podSecurity) Validate(ctx context.Context, a *Attributes) error {
	if a.Operation != Create && a.Operation != Update || a.Part.Kind != "" {
		return nil
	}
	if ns, ok := a.Object.(*corev1.Namespace); ok {
		return p.checkNamespace(ctx, a, ns)
	}
	if pod, ok := a.Object.(*corev1.Pod); ok {
		if a.Subresource == "status" {
			return nil
		}
		if old, ok := a.Old.(*corev1.Pod); ok && !otherImages(pod, old) {
			return nil
		}
		return p.check(ctx, a, &pod.ObjectMeta, &pod.Spec, true)
	}
	if template := templateOf(a.Object); template != nil && a.Subresource == "" {
		return p.check(ctx, a, &template.ObjectMeta, &template.Spec, false)
	}
	return nil
}

// templateOf returns what an object makes pods of; nil for nothing.
func templateOf(obj registry.Object) *corev1.PodTemplateSpec {
	switch o := obj.(type) {
	case *corev1.PodTemplate:
		return &o.Template
	case *corev1.ReplicationController:
		return o.Spec.Template
	case *appsv1.ReplicaSet:
		return &o.Spec.Template
	case *appsv1.Deployment:
		return &o.Spec.Template
	case *appsv1.DaemonSet:
		return &o.Spec.Template
	case *appsv1.StatefulSet:
		return &o.Spec.Template
	case *batchv1.Job:
		return &o.Spec.Template
	case *batchv1.CronJob:
		return &o.Spec.JobTemplate.Spec.Template
	}
	return nil
}

// check holds a pod, or a template, to the levels of its namespace.
func (p podSecurity) check(ctx context.Context, a *Attributes, meta *metav1.ObjectMeta, spec *corev1.PodSpec, enforce bool) error {
	ns, err := a.ReadNamespace(ctx, p.Reader)
	if err != nil {
		return err
	}
	wanted, badLabels := levels(ns.Labels)
	if wanted.FullyPrivileged() && len(badLabels) == 0 {
		if enforce {
			a.Annotation(podSecurityPrefix+standards.EnforcedPolicyAnnotationKey, "privileged:latest")
		}
		return nil
	}
	if err := badLabels.ToAggregate(); err != nil {
		a.Annotation(podSecurityPrefix+"error", fmt.Sprintf("Failed to parse policy: %v", err))
	}
	results := map[standards.LevelVersion]policy.AggregateCheckResult{}
	result := func(level standards.LevelVersion) policy.AggregateCheckResult {
		r, ok := results[level]
		if !ok {
			r = policy.AggregateCheckResults(evaluator().EvaluatePod(level, meta, spec))
			results[level] = r
		}
		return r
	}
	if r := result(wanted.Audit); !r.Allowed {
		a.Annotation(podSecurityPrefix+standards.AuditViolationsAnnotationKey, fmt.Sprintf("would violate PodSecurity %q: %s", wanted.Audit.String(), r.ForbiddenDetail()))
	}
	if enforce {
		a.Annotation(podSecurityPrefix+standards.EnforcedPolicyAnnotationKey, wanted.Enforce.String())
		if r := result(wanted.Enforce); !r.Allowed {
			return a.forbidden(fmt.Errorf("violates PodSecurity %q: %s", wanted.Enforce.String(), r.ForbiddenDetail()))
		}
	}
	if r := result(wanted.Warn); !r.Allowed {
		a.Warning(fmt.Sprintf("would violate PodSecurity %q: %s", wanted.Warn.String(), r.ForbiddenDetail()))
	}
	return nil
}

// levels returns what a namespace's labels ask for, and which of them make no sense.
func levels(labels map[string]string) (standards.Policy, field.ErrorList) {
	for key := range labels {
		if strings.HasPrefix(key, podSecurityPrefix) {
			return standards.PolicyToEvaluate(labels, privileged)
		}
	}
	return privileged, nil
}

// otherImages reports whether an update changes what of a pod the standards are about: containers come, or run something
// else.
func otherImages(now, was *corev1.Pod) bool {
	for _, pair := range [][2][]corev1.Container{
		{now.Spec.Containers, was.Spec.Containers}, {now.Spec.InitContainers, was.Spec.InitContainers}, {ephemeral(now), ephemeral(was)},
	} {
		images := make(map[string]string, len(pair[1]))
		for i := range pair[1] {
			images[pair[1][i].Name] = pair[1][i].Image
		}
		for i := range pair[0] {
			if image, there := images[pair[0][i].Name]; !there || image != pair[0][i].Image {
				return true
			}
		}
	}
	return false
}

func ephemeral(pod *corev1.Pod) []corev1.Container {
	out := make([]corev1.Container, len(pod.Spec.EphemeralContainers))
	for i := range pod.Spec.EphemeralContainers {
		out[i].Name, out[i].Image = pod.Spec.EphemeralContainers[i].Name, pod.Spec.EphemeralContainers[i].Image
	}
	return out
}
