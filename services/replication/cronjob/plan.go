package cronjob

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/services/replication/job"
)

// observed is everything that a decision about a CronJob looks at.
type observed struct {
	cron *batchv1.CronJob
	// jobs are those that it controls.
	jobs []*batchv1.Job
	now  time.Time
}

// plan is what to do: delete jobs, start one, store the status.
type plan struct {
	// expired jobs are beyond the history limits, replaced ones make room for the next.
	expired, replaced []*batchv1.Job
	// start is the time whose run is to be started now, zero for none.
	start  time.Time
	status batchv1.CronJobStatus
	events []event
	// after is when the next run is due, 0 when none is to be expected.
	after time.Duration
}

type event struct{ kind, reason, message string }

func (p *plan) event(kind, reason, format string, args ...any) {
	p.events = append(p.events, event{kind, reason, fmt.Sprintf(format, args...)})
}

func makePlan(o observed) plan {
	p := plan{status: *o.cron.Status.DeepCopy()}
	p.follow(o)
	p.expire(o)
	if o.cron.DeletionTimestamp == nil && (o.cron.Spec.Suspend == nil || !*o.cron.Spec.Suspend) {
		p.schedule(o)
	}
	return p
}

// follow brings the list of active jobs up to date.
func (p *plan) follow(o observed) {
	byUID := map[types.UID]*batchv1.Job{}
	for _, j := range o.jobs {
		byUID[j.UID] = j
		over := job.Finished(j)
		if over == nil {
			if !active(p.status.Active, j.UID) {
				p.event(corev1.EventTypeWarning, "UnexpectedJob", "Saw a job that the controller did not create or forgot: %s", j.Name)
			}
			continue
		}
		if active(p.status.Active, j.UID) {
			p.event(corev1.EventTypeNormal, "SawCompletedJob", "Saw completed job: %s, condition: %v", j.Name, over.Type)
		}
		if done := j.Status.CompletionTime; over.Type == batchv1.JobComplete && done != nil &&
			(p.status.LastSuccessfulTime == nil || p.status.LastSuccessfulTime.Before(done)) {
			p.status.LastSuccessfulTime = done.DeepCopy()
		}
	}
	p.status.Active = slices.DeleteFunc(p.status.Active, func(ref corev1.ObjectReference) bool {
		j, there := byUID[ref.UID]
		if !there {
			p.event(corev1.EventTypeNormal, "MissingJob", "Active job went missing: %v", ref.Name)
		}
		return !there || job.Finished(j) != nil
	})
	if len(p.status.Active) == 0 {
		p.status.Active = nil
	}
}

func active(list []corev1.ObjectReference, uid types.UID) bool {
	return slices.ContainsFunc(list, func(ref corev1.ObjectReference) bool { return ref.UID == uid })
}

// expire chooses the oldest finished jobs beyond the history limits.
func (p *plan) expire(o observed) {
	for kind, limit := range map[batchv1.JobConditionType]*int32{
		batchv1.JobComplete: o.cron.Spec.SuccessfulJobsHistoryLimit, batchv1.JobFailed: o.cron.Spec.FailedJobsHistoryLimit,
	} {
		if limit == nil {
			continue
		}
		var over []*batchv1.Job
		for _, j := range o.jobs {
			if c := job.Finished(j); c != nil && c.Type == kind && j.DeletionTimestamp == nil {
				over = append(over, j)
			}
		}
		slices.SortFunc(over, func(a, b *batchv1.Job) int {
			return cmp.Or(startOf(a).Compare(startOf(b)), cmp.Compare(a.Name, b.Name))
		})
		p.expired = append(p.expired, over[:max(len(over)-int(*limit), 0)]...)
	}
}

func startOf(j *batchv1.Job) time.Time {
	if j.Status.StartTime != nil {
		return j.Status.StartTime.Time
	}
	return j.CreationTimestamp.Time
}

// schedule decides whether a run starts now.
func (p *plan) schedule(o observed) {
	if z := o.cron.Spec.TimeZone; z != nil {
		if _, err := time.LoadLocation(*z); err != nil {
			p.event(corev1.EventTypeWarning, "UnknownTimeZone", "invalid timeZone: %q: %s", *z, err)
			return
		}
	}
	s, err := parse(o.cron)
	if err != nil {
		p.event(corev1.EventTypeWarning, "UnparseableSchedule", "unparseable schedule: %q : %s", o.cron.Spec.Schedule, err)
		return
	}
	r, err := since(o.cron, s, o.now)
	if err != nil {
		p.event(corev1.EventTypeWarning, "InvalidSchedule", "invalid schedule: %s : %s", o.cron.Spec.Schedule, err)
		return
	}
	if !r.next.IsZero() {
		p.after = max(r.next.Sub(o.now), time.Millisecond)
	}
	if r.due.IsZero() {
		return
	}
	if r.many {
		p.event(corev1.EventTypeWarning, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	p.begin(o, r.due)
}

// begin starts the run that is due unless it was missed, was started before or may not run beside others.
func (p *plan) begin(o observed, due time.Time) {
	if d := o.cron.Spec.StartingDeadlineSeconds; d != nil && due.Add(time.Duration(*d)*time.Second).Before(o.now) {
		p.event(corev1.EventTypeWarning, "MissSchedule", "Missed scheduled time to start a job: %s", due.UTC().Format(time.RFC1123Z))
		return
	}
	name := jobName(o.cron, due)
	if slices.ContainsFunc(p.status.Active, func(ref corev1.ObjectReference) bool { return ref.Name == name }) ||
		p.status.LastScheduleTime != nil && p.status.LastScheduleTime.Time.Equal(due) {
		return
	}
	switch o.cron.Spec.ConcurrencyPolicy {
	case batchv1.ForbidConcurrent:
		if len(p.status.Active) > 0 {
			p.event(corev1.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
			return
		}
	case batchv1.ReplaceConcurrent:
		for _, j := range o.jobs {
			if active(p.status.Active, j.UID) {
				p.replaced = append(p.replaced, j)
			}
		}
		p.status.Active = nil
	}
	p.start = due
}

// jobName is the same whenever a run is started: a run cannot be started twice.
func jobName(cj *batchv1.CronJob, due time.Time) string {
	return fmt.Sprintf("%s-%d", cj.Name, due.Unix()/60)
}

// started enters a job into the status.
func (p *plan) started(ref corev1.ObjectReference, due time.Time) {
	if !active(p.status.Active, ref.UID) {
		p.status.Active = append(p.status.Active, ref)
	}
	p.status.LastScheduleTime = &metav1.Time{Time: due}
}
