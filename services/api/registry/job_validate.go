package registry

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

func validateJob(j *batchv1.Job) field.ErrorList {
	var e check.Errors
	p := field.NewPath("spec")
	validateJobSpec(&e, p, &j.Spec)
	if !deref(j.Spec.ManualSelector) && j.Spec.Selector != nil && j.UID != "" {
		if got := j.Spec.Template.Labels[batchv1.ControllerUidLabel]; got != string(j.UID) && j.Spec.Template.Labels["controller-uid"] != string(j.UID) {
			e.Invalid(p.Child("template", "metadata", "labels").Key(batchv1.ControllerUidLabel), j.Spec.Template.Labels, fmt.Sprintf("must be '%s'", j.UID))
		}
	}
	if j.Spec.Selector == nil {
		e.Required(p.Child("selector"), "")
	} else {
		e.Selector(p.Child("selector"), j.Spec.Selector)
		if sel, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !sel.Matches(labels.Set(j.Spec.Template.Labels)) {
			e.Invalid(p.Child("template", "metadata", "labels"), j.Spec.Template.Labels, "`selector` does not match template `labels`")
		}
	}
	// The last of the numbered pods has the longest name, which is its host name as well.
	if c := deref(j.Spec.Completions); deref(j.Spec.CompletionMode) == batchv1.IndexedCompletion && c > 0 && (j.Name != "" || j.GenerateName == "") {
		if host := fmt.Sprintf("%s-%d", j.Name, c-1); len(validation.IsDNS1123Label(host)) > 0 {
			e.Invalid(field.NewPath("metadata", "name"), j.Name, "will not able to create pod with invalid DNS label: "+host)
		}
	}
	return e.List()
}

// validateJobSpec checks what a job and a job's template have in common.
func validateJobSpec(e *check.Errors, p *field.Path, s *batchv1.JobSpec) {
	e.NonNegatives(p, map[string]*int32{
		"parallelism": s.Parallelism, "completions": s.Completions, "backoffLimit": s.BackoffLimit, "ttlSecondsAfterFinished": s.TTLSecondsAfterFinished,
		"backoffLimitPerIndex": s.BackoffLimitPerIndex, "maxFailedIndexes": s.MaxFailedIndexes,
	})
	if d := s.ActiveDeadlineSeconds; d != nil {
		e.NonNegative(p.Child("activeDeadlineSeconds"), *d)
	}
	if m := s.ManagedBy; m != nil {
		e.Add(validation.IsDomainPrefixedPath(p.Child("managedBy"), *m)...)
	}
	validateIndexed(e, p, s)
	if s.PodFailurePolicy != nil {
		validatePodFailurePolicy(e, p.Child("podFailurePolicy"), s)
	}
	if r := s.PodReplacementPolicy; r != nil {
		allowed := []batchv1.PodReplacementPolicy{batchv1.Failed, batchv1.TerminatingOrFailed}
		if s.PodFailurePolicy != nil {
			allowed = allowed[:1]
		}
		check.Among(e, p.Child("podReplacementPolicy"), *r, allowed...)
	}
	podspec.ValidateTemplate(e, p.Child("template"), &s.Template)
	validateEnding(e, p.Child("template", "spec", "restartPolicy"), s)
}

// validateEnding checks that the pods end, and with a failure policy at the first failure.
func validateEnding(e *check.Errors, p *field.Path, s *batchv1.JobSpec) {
	switch policy := s.Template.Spec.RestartPolicy; policy {
	case corev1.RestartPolicyNever:
	case "", corev1.RestartPolicyAlways:
		e.Required(p, "valid values: \"OnFailure\", \"Never\"")
	case corev1.RestartPolicyOnFailure:
		e.If(s.PodFailurePolicy != nil, p, policy,
			fmt.Sprintf("only \"%s\" is supported when podFailurePolicy is specified", corev1.RestartPolicyNever))
	default:
		check.Among(e, p, policy, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	}
}

// validateIndexed checks the mode, and what only goes with numbered completions.
func validateIndexed(e *check.Errors, p *field.Path, s *batchv1.JobSpec) {
	const mostParallel, mostCompletions = 100000, 100000
	mode := deref(s.CompletionMode)
	if s.CompletionMode != nil {
		check.Among(e, p.Child("completionMode"), mode, batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)
	}
	if mode == batchv1.IndexedCompletion {
		if s.Completions == nil {
			e.Required(p.Child("completions"), fmt.Sprintf("when completion mode is %s", mode))
		}
		e.If(deref(s.Parallelism) > mostParallel, p.Child("parallelism"), deref(s.Parallelism),
			fmt.Sprintf("must be less than or equal to %d when completion mode is %s", mostParallel, mode))
		perIndex := s.BackoffLimitPerIndex != nil || s.MaxFailedIndexes != nil
		e.If(perIndex && deref(s.Completions) > mostCompletions, p.Child("completions"), deref(s.Completions),
			fmt.Sprintf("must be less than or equal to %d when completion mode is %s and maxFailedIndexes or backoffLimitPerIndex is set", mostCompletions, mode))
		return
	}
	if s.BackoffLimitPerIndex != nil {
		e.Invalid(p.Child("backoffLimitPerIndex"), *s.BackoffLimitPerIndex, "requires indexed completion mode")
	}
	if s.MaxFailedIndexes != nil {
		e.Invalid(p.Child("maxFailedIndexes"), *s.MaxFailedIndexes, "requires indexed completion mode")
	}
	if s.SuccessPolicy != nil {
		e.Invalid(p.Child("successPolicy"), s.SuccessPolicy, "requires indexed completion mode")
	}
}

// oneNamed reports a value that is not among those allowed, and names these where there is none.
func oneNamed[T ~string](e *check.Errors, p *field.Path, value T, allowed ...T) {
	if value == "" {
		e.Required(p, fmt.Sprintf("valid values: %q", allowed))
		return
	}
	check.Among(e, p, value, allowed...)
}

func validatePodFailurePolicy(e *check.Errors, p *field.Path, s *batchv1.JobSpec) {
	const most = 20
	rules := p.Child("rules")
	if n := len(s.PodFailurePolicy.Rules); n > most {
		e.Add(field.TooMany(rules, n, most))
	}
	for i, r := range s.PodFailurePolicy.Rules {
		at := rules.Index(i)
		oneNamed(e, at.Child("action"), r.Action, batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
			batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)
		e.If(r.Action == batchv1.PodFailurePolicyActionFailIndex && s.BackoffLimitPerIndex == nil, at.Child("action"), r.Action,
			"requires the backoffLimitPerIndex to be set")
		for j, c := range r.OnPodConditions {
			condition := at.Child("onPodConditions").Index(j)
			e.Qualified(condition.Child("type"), string(c.Type))
			oneNamed(e, condition.Child("status"), c.Status, corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)
		}
		if r.OnExitCodes != nil {
			validateExitCodes(e, at.Child("onExitCodes"), r.OnExitCodes, &s.Template.Spec)
		}
		switch codes, conditions := r.OnExitCodes != nil, len(r.OnPodConditions) > 0; {
		case codes && conditions:
			e.Invalid(at, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported")
		case !codes && !conditions:
			e.Invalid(at, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required")
		}
	}
}

func validateExitCodes(e *check.Errors, p *field.Path, c *batchv1.PodFailurePolicyOnExitCodesRequirement, spec *corev1.PodSpec) {
	const most = 255
	oneNamed(e, p.Child("operator"), c.Operator, batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)
	if n := c.ContainerName; n != nil && !hasContainer(spec, *n) {
		e.Invalid(p.Child("containerName"), *n, "must be one of the container or initContainer names in the pod template")
	}
	values := p.Child("values")
	switch n := len(c.Values); {
	case n == 0:
		e.Invalid(values, c.Values, "at least one value is required")
	case n > most:
		e.Add(field.TooMany(values, n, most))
	}
	for i, code := range c.Values {
		e.If(code == 0 && c.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn, values.Index(i), code, "must not be 0 for the In operator")
		if slices.Contains(c.Values[:i], code) {
			e.Duplicate(values.Index(i), code)
		}
	}
}

func hasContainer(spec *corev1.PodSpec, name string) bool {
	for _, list := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return true
			}
		}
	}
	return false
}

func validateJobUpdate(j, old *batchv1.Job) field.ErrorList {
	var e check.Errors
	p := field.NewPath("spec")
	elastic := deref(old.Spec.CompletionMode) == batchv1.IndexedCompletion && deref(j.Spec.Completions) == deref(j.Spec.Parallelism)
	if !elastic {
		e.Immutable(p.Child("completions"), j.Spec.Completions, old.Spec.Completions)
	}
	e.Immutable(p.Child("selector"), j.Spec.Selector, old.Spec.Selector)
	e.Immutable(p.Child("template"), j.Spec.Template, templateThatMayDiffer(j, old))
	e.Immutable(p.Child("completionMode"), j.Spec.CompletionMode, old.Spec.CompletionMode)
	e.Immutable(p.Child("podFailurePolicy"), j.Spec.PodFailurePolicy, old.Spec.PodFailurePolicy)
	e.Immutable(p.Child("backoffLimitPerIndex"), j.Spec.BackoffLimitPerIndex, old.Spec.BackoffLimitPerIndex)
	e.Immutable(p.Child("managedBy"), j.Spec.ManagedBy, old.Spec.ManagedBy)
	e.Immutable(p.Child("successPolicy"), j.Spec.SuccessPolicy, old.Spec.SuccessPolicy)
	return e.List()
}

// templateThatMayDiffer is the old template with the places and amounts of the new one while the job has not started:
// queues decide those last.
func templateThatMayDiffer(j, old *batchv1.Job) corev1.PodTemplateSpec {
	if !deref(old.Spec.Suspend) || old.Status.StartTime != nil {
		return old.Spec.Template
	}
	t := *old.Spec.Template.DeepCopy()
	now := j.Spec.Template
	t.Labels, t.Annotations = now.Labels, now.Annotations
	t.Spec.NodeSelector, t.Spec.Tolerations, t.Spec.SchedulingGates = now.Spec.NodeSelector, now.Spec.Tolerations, now.Spec.SchedulingGates
	if now.Spec.Affinity != nil && now.Spec.Affinity.NodeAffinity != nil {
		if t.Spec.Affinity == nil {
			t.Spec.Affinity = &corev1.Affinity{}
		}
		t.Spec.Affinity.NodeAffinity = now.Spec.Affinity.NodeAffinity
	}
	for i := range min(len(t.Spec.Containers), len(now.Spec.Containers)) {
		t.Spec.Containers[i].Resources = now.Spec.Containers[i].Resources
	}
	return t
}
