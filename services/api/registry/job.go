package registry

import (
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"

	"karve.dev/karve/services/api/registry/podspec"
)

func job() *Kind {
	life := generations(func(o *batchv1.Job) (*batchv1.JobSpec, *batchv1.JobStatus) { return &o.Spec, &o.Status })
	return define(Spec[*batchv1.Job]{
		GVK: gvk("batch", "v1", "Job"), Resource: "jobs", Singular: "job", Categories: []string{"all"}, Namespaced: true,
		New:            func() *batchv1.Job { return &batchv1.Job{} },
		NewList:        func() runtime.Object { return &batchv1.JobList{} },
		Life:           life,
		Default:        defaultJob,
		PrepareCreate:  func(j *batchv1.Job) { life.create(j); generateSelector(j); defaultJobLabels(j) },
		Validate:       validateJob,
		ValidateUpdate: validateJobUpdate,
		Warnings:       templateWarnings(func(o *batchv1.Job) *corev1.PodTemplateSpec { return &o.Spec.Template }),
		Columns:        columns("Name|Status|Completions|Duration|Age|+Containers|+Images|+Selector"),
		Cells: func(j *batchv1.Job, now time.Time) []any {
			containers, images := containersAndImages(&j.Spec.Template.Spec)
			return []any{j.Name, jobStatus(j), jobCompletions(j), jobDuration(j, now), age(j.CreationTimestamp, now),
				containers, images, metav1.FormatLabelSelector(j.Spec.Selector)}
		},
		Fields: func(j *batchv1.Job) fields.Set {
			return fields.Set{"status.successful": strconv.Itoa(int(j.Status.Succeeded))}
		},
	})
}

func defaultJob(j *batchv1.Job) {
	s := &j.Spec
	if s.Completions == nil && s.Parallelism == nil {
		point(&s.Completions, 1)
	}
	point(&s.Parallelism, 1)
	if s.BackoffLimitPerIndex != nil {
		point(&s.BackoffLimit, math.MaxInt32)
	}
	point(&s.BackoffLimit, 6)
	defaultJobLabels(j)
	point(&s.CompletionMode, batchv1.NonIndexedCompletion)
	point(&s.Suspend, false)
	point(&s.ManualSelector, false)
	if s.PodFailurePolicy != nil {
		point(&s.PodReplacementPolicy, batchv1.Failed)
		for i := range s.PodFailurePolicy.Rules {
			for k := range s.PodFailurePolicy.Rules[i].OnPodConditions {
				set(&s.PodFailurePolicy.Rules[i].OnPodConditions[k].Status, corev1.ConditionTrue)
			}
		}
	}
	point(&s.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	podspec.Default(&s.Template.Spec)
}

// defaultJobLabels gives a job without labels those of its pods, the generated ones as well.
func defaultJobLabels(j *batchv1.Job) {
	if len(j.Labels) == 0 {
		j.Labels = maps.Clone(j.Spec.Template.Labels)
	}
}

// generateSelector gives a job's pods labels that no other job's pods have, unless the author takes care of it.
func generateSelector(j *batchv1.Job) {
	if deref(j.Spec.ManualSelector) {
		return
	}
	if j.Spec.Template.Labels == nil {
		j.Spec.Template.Labels = map[string]string{}
	}
	uid, l := string(j.UID), j.Spec.Template.Labels
	// Both have an older form that is still looked for.
	l[batchv1.ControllerUidLabel], l["controller-uid"] = uid, uid
	l[batchv1.JobNameLabel], l["job-name"] = j.Name, j.Name
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	if _, ok := j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; !ok {
		j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] = uid
	}
}

func jobStatus(j *batchv1.Job) string {
	has := func(t batchv1.JobConditionType) bool {
		for _, c := range j.Status.Conditions {
			if c.Type == t {
				return c.Status == corev1.ConditionTrue
			}
		}
		return false
	}
	switch {
	case has(batchv1.JobComplete):
		return "Complete"
	case has(batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case has(batchv1.JobSuspended):
		return "Suspended"
	case has(batchv1.JobFailureTarget):
		return "FailureTarget"
	case has(batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func jobCompletions(j *batchv1.Job) string {
	if c := j.Spec.Completions; c != nil {
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *c)
	}
	if p := deref(j.Spec.Parallelism); p > 1 {
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, p)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func jobDuration(j *batchv1.Job, now time.Time) string {
	switch start, end := j.Status.StartTime, j.Status.CompletionTime; {
	case start == nil:
		return ""
	case end == nil:
		return duration.HumanDuration(now.Sub(start.Time))
	default:
		return duration.HumanDuration(end.Sub(start.Time))
	}
}
