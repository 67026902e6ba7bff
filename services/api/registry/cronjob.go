package registry

import (
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

func cronJob() *Kind {
	return define(Spec[*batchv1.CronJob]{
		GVK: gvk("batch", "v1", "CronJob"), Resource: "cronjobs", Singular: "cronjob", ShortNames: []string{"cj"}, Categories: []string{"all"}, Namespaced: true,
		New:          func() *batchv1.CronJob { return &batchv1.CronJob{} },
		NewList:      func() runtime.Object { return &batchv1.CronJobList{} },
		Life:         generations(func(o *batchv1.CronJob) (*batchv1.CronJobSpec, *batchv1.CronJobStatus) { return &o.Spec, &o.Status }),
		Default:      defaultCronJob,
		Validate:     validateCronJob,
		ValidateName: cronJobName,
		Columns:      columns("Name|Schedule|Timezone|Suspend|Active#|Last Schedule|Age|+Containers|+Images|+Selector"),
		Cells: func(c *batchv1.CronJob, now time.Time) []any {
			containers, images := containersAndImages(&c.Spec.JobTemplate.Spec.Template.Spec)
			last := none
			if t := c.Status.LastScheduleTime; t != nil {
				last = age(*t, now)
			}
			return []any{c.Name, c.Spec.Schedule, orNone(deref(c.Spec.TimeZone)), boolean(c.Spec.Suspend), int64(len(c.Status.Active)), last,
				age(c.CreationTimestamp, now), containers, images, metav1.FormatLabelSelector(c.Spec.JobTemplate.Spec.Selector)}
		},
	})
}

func defaultCronJob(c *batchv1.CronJob) {
	s := &c.Spec
	set(&s.ConcurrencyPolicy, batchv1.AllowConcurrent)
	point(&s.Suspend, false)
	point(&s.SuccessfulJobsHistoryLimit, 3)
	point(&s.FailedJobsHistoryLimit, 1)
	podspec.Default(&s.JobTemplate.Spec.Template.Spec)
}

// cronJobName leaves room for what its jobs' names add.
func cronJobName(name string, prefix bool) []string {
	const longest = 52
	msgs := validation.NameIsDNSSubdomain(name, prefix)
	if !prefix && len(name) > longest {
		msgs = append(msgs, "must be no more than 52 characters")
	}
	return msgs
}

func validateCronJob(c *batchv1.CronJob) field.ErrorList {
	var e check.Errors
	p, s := field.NewPath("spec"), &c.Spec
	at := p.Child("schedule")
	if s.Schedule != "" {
		if msg := badSchedule(s.Schedule); msg != "" {
			e.Invalid(at, s.Schedule, msg)
		}
		e.If(strings.Contains(s.Schedule, "TZ"), at, s.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
	}
	if d := s.StartingDeadlineSeconds; d != nil {
		e.NonNegative(p.Child("startingDeadlineSeconds"), *d)
	}
	if z := s.TimeZone; z != nil {
		validateTimeZone(&e, p.Child("timeZone"), *z)
	}
	check.OneOf(&e, p.Child("concurrencyPolicy"), s.ConcurrencyPolicy, batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)
	t := p.Child("jobTemplate", "spec")
	validateJobSpec(&e, t, &s.JobTemplate.Spec)
	if s.JobTemplate.Spec.ManualSelector != nil && *s.JobTemplate.Spec.ManualSelector {
		check.Among(&e, t.Child("manualSelector"), "true", "nil", "false")
	}
	e.NonNegatives(p, map[string]*int32{"successfulJobsHistoryLimit": s.SuccessfulJobsHistoryLimit, "failedJobsHistoryLimit": s.FailedJobsHistoryLimit})
	e.NotEmpty(at, s.Schedule)
	return e.List()
}

func validateTimeZone(e *check.Errors, p *field.Path, zone string) {
	switch {
	case zone == "":
		e.Invalid(p, zone, "timeZone must be nil or non-empty string")
	case strings.EqualFold(zone, "Local"):
		e.Invalid(p, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
	default:
		if _, err := time.LoadLocation(zone); err != nil {
			// The files of the zones may fail in other ways, which tell nothing more.
			e.Invalid(p, zone, "unknown time zone "+zone)
		}
	}
}

// boolean is how tables show a flag that may be unset.
func boolean(b *bool) string {
	switch {
	case b == nil:
		return "<unset>"
	case *b:
		return "True"
	}
	return "False"
}
