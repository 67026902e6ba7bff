package job

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// judgement is what a job's podFailurePolicy makes of a failed pod. The action is empty when no rule matches.
type judgement struct {
	action batchv1.PodFailurePolicyAction
	// message says which rule matched, for FailJob.
	message string
}

// counts says whether the failure counts towards the limits.
func (j judgement) counts() bool { return j.action != batchv1.PodFailurePolicyActionIgnore }

// judge returns what the first matching rule says.
func judge(job *batchv1.Job, p *corev1.Pod) judgement {
	if job.Spec.PodFailurePolicy == nil {
		return judgement{}
	}
	for i := range job.Spec.PodFailurePolicy.Rules {
		rule := &job.Spec.PodFailurePolicy.Rules[i]
		var why string
		var ok bool
		if rule.OnExitCodes != nil {
			why, ok = matchExitCodes(p, rule.OnExitCodes)
		} else {
			why, ok = matchConditions(p, rule.OnPodConditions)
		}
		if ok {
			return judgement{rule.Action, fmt.Sprintf("%s matching %v rule at index %d", why, rule.Action, i)}
		}
	}
	return judgement{}
}

func matchExitCodes(p *corev1.Pod, r *batchv1.PodFailurePolicyOnExitCodesRequirement) (string, bool) {
	for _, s := range slices.Concat(p.Status.ContainerStatuses, p.Status.InitContainerStatuses) {
		t := s.State.Terminated
		if t == nil || t.ExitCode == 0 || r.ContainerName != nil && *r.ContainerName != s.Name {
			continue
		}
		if slices.Contains(r.Values, t.ExitCode) == (r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
			return fmt.Sprintf("Container %s for pod %s/%s failed with exit code %v", s.Name, p.Namespace, p.Name, t.ExitCode), true
		}
	}
	return "", false
}

func matchConditions(p *corev1.Pod, patterns []batchv1.PodFailurePolicyOnPodConditionsPattern) (string, bool) {
	for _, want := range patterns {
		for i := range p.Status.Conditions {
			if c := &p.Status.Conditions[i]; c.Type == want.Type && c.Status == want.Status {
				return fmt.Sprintf("Pod %s/%s has condition %v", p.Namespace, p.Name, c.Type), true
			}
		}
	}
	return "", false
}

// successRule returns the number of the first successPolicy rule that the succeeded indexes satisfy.
func successRule(job *batchv1.Job, succeeded indexes) (int, bool) {
	if job.Spec.SuccessPolicy == nil {
		return 0, false
	}
	for i, rule := range job.Spec.SuccessPolicy.Rules {
		have, need := succeeded.len(), 0
		if rule.SucceededIndexes != nil {
			among := parseIndexes(*rule.SucceededIndexes, completions(job))
			have, need = succeeded.common(among), among.len()
		}
		if rule.SucceededCount != nil {
			need = int(*rule.SucceededCount)
		}
		if (rule.SucceededIndexes != nil || rule.SucceededCount != nil) && have >= need {
			return i, true
		}
	}
	return 0, false
}
