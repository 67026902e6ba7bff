package cronjob

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

func build(schedule string, change func(*batchv1.CronJob)) *batchv1.CronJob {
	cj := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "nightly", UID: "cron", CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour))},
		Spec: batchv1.CronJobSpec{
			Schedule: schedule, TimeZone: ptr("Etc/UTC"), ConcurrencyPolicy: batchv1.AllowConcurrent, SuccessfulJobsHistoryLimit: ptr(int32(3)), FailedJobsHistoryLimit: ptr(int32(1)),
		},
	}
	if change != nil {
		change(cj)
	}
	return cj
}

// run is a job of the CronJob; over is empty while it runs.
func run(name string, over batchv1.JobConditionType, ended time.Time) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)}}
	j.Status.StartTime = ptr(metav1.NewTime(ended))
	if over != "" {
		j.Status.Conditions = []batchv1.JobCondition{{Type: over, Status: corev1.ConditionTrue}}
		j.Status.CompletionTime = ptr(metav1.NewTime(ended))
	}
	return j
}

func activeRefs(names ...string) (out []corev1.ObjectReference) {
	for _, n := range names {
		out = append(out, corev1.ObjectReference{Name: n, UID: types.UID(n)})
	}
	return out
}

func reasons(p plan) (out []string) {
	for _, e := range p.events {
		out = append(out, e.reason)
	}
	return out
}

func TestRunsStartWhenTheyAreDue(t *testing.T) {
	lastAt := func(at time.Time) func(*batchv1.CronJob) {
		return func(cj *batchv1.CronJob) { cj.Status.LastScheduleTime = ptr(metav1.NewTime(at)) }
	}
	for name, c := range map[string]struct {
		cron   *batchv1.CronJob
		now    time.Time
		start  time.Time
		after  time.Duration
		reason []string
	}{
		"not yet":                           {build("30 12 * * *", nil), noon, time.Time{}, 30 * time.Minute, nil},
		"on the minute":                     {build("0 12 * * *", nil), noon, noon, 24 * time.Hour, nil},
		"done already":                      {build("0 12 * * *", lastAt(noon)), noon.Add(time.Second), time.Time{}, 24*time.Hour - time.Second, nil},
		"the last of some that were missed": {build("*/10 * * * *", nil), noon.Add(5 * time.Minute), noon, 5 * time.Minute, nil},
		"of a great many": {build("* * * * *", lastAt(noon.AddDate(-1, 0, 0))), noon.Add(30 * time.Second), noon, 30 * time.Second,
			[]string{"TooManyMissedTimes"}},
		"that come in bursts": {build("* * 1 3 *", lastAt(noon.AddDate(0, -2, 0))), noon, noon.Add(-12*time.Hour - time.Minute), noon.AddDate(1, 0, -1).Add(-12 * time.Hour).Sub(noon),
			[]string{"TooManyMissedTimes"}},
		"every so often":         {build("@every 7m", lastAt(noon.Add(-20*time.Minute))), noon, noon.Add(-6 * time.Minute), time.Minute, nil},
		"too late":               {build("0 12 * * *", func(cj *batchv1.CronJob) { cj.Spec.StartingDeadlineSeconds = ptr(int64(100)) }), noon.Add(3 * time.Minute), time.Time{}, 24*time.Hour - 3*time.Minute, nil},
		"just in time":           {build("0 12 * * *", func(cj *batchv1.CronJob) { cj.Spec.StartingDeadlineSeconds = ptr(int64(200)) }), noon.Add(3 * time.Minute), noon, 24*time.Hour - 3*time.Minute, nil},
		"where it is noon later": {build("0 12 * * *", func(cj *batchv1.CronJob) { cj.Spec.TimeZone = ptr("America/New_York") }), noon, time.Time{}, 5 * time.Hour, nil},
		"suspended":              {build("0 12 * * *", func(cj *batchv1.CronJob) { cj.Spec.Suspend = ptr(true) }), noon, time.Time{}, 0, nil},
		"never":                  {build("0 0 30 2 *", nil), noon, time.Time{}, 0, nil},
		"no schedule":            {build("0 0 30", nil), noon, time.Time{}, 0, []string{"UnparseableSchedule"}},
		"no place":               {build("0 12 * * *", func(cj *batchv1.CronJob) { cj.Spec.TimeZone = ptr("Moon/Tycho") }), noon, time.Time{}, 0, []string{"UnknownTimeZone"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := makePlan(observed{cron: c.cron, now: c.now})
			require.Equal(t, c.start, p.start.UTC())
			require.Equal(t, c.after, p.after)
			require.Equal(t, c.reason, reasons(p))
		})
	}
}

func TestConcurrencyPolicy(t *testing.T) {
	running := run("nightly-1", "", noon)
	o := observed{cron: build("0 12 * * *", nil), jobs: []*batchv1.Job{running}, now: noon}
	o.cron.Status.Active = activeRefs("nightly-1")
	p := makePlan(o)
	require.Equal(t, noon, p.start.UTC())
	require.Empty(t, p.replaced)

	o.cron.Spec.ConcurrencyPolicy = batchv1.ReplaceConcurrent
	p = makePlan(o)
	require.Equal(t, noon, p.start.UTC())
	require.Equal(t, []*batchv1.Job{running}, p.replaced)
	p.started(activeRefs("nightly-2")[0], p.start)
	require.Equal(t, activeRefs("nightly-2"), p.status.Active)

	o.cron.Spec.ConcurrencyPolicy = batchv1.ForbidConcurrent
	p = makePlan(o)
	require.True(t, p.start.IsZero())
	require.Equal(t, []string{"JobAlreadyActive"}, reasons(p))

	o.jobs = []*batchv1.Job{run("nightly-1", batchv1.JobFailed, noon)}
	p = makePlan(o)
	require.Equal(t, noon, p.start.UTC(), "the run that had to wait follows")
	require.Equal(t, []string{"SawCompletedJob"}, reasons(p))
}

func TestTheStatusFollowsTheJobs(t *testing.T) {
	o := observed{cron: build("0 0 * * *", nil), now: noon}
	o.cron.Status.Active = activeRefs("done", "gone", "still")
	o.jobs = []*batchv1.Job{run("done", batchv1.JobComplete, noon.Add(-time.Minute)), run("still", "", noon), run("manual", "", noon)}
	p := makePlan(o)
	require.Equal(t, activeRefs("still"), p.status.Active)
	require.Equal(t, noon.Add(-time.Minute), p.status.LastSuccessfulTime.UTC())
	require.ElementsMatch(t, []string{"SawCompletedJob", "MissingJob", "UnexpectedJob"}, reasons(p))
}

func TestOldJobsGo(t *testing.T) {
	o := observed{cron: build("0 0 * * *", nil), now: noon}
	for n := range 5 {
		o.jobs = append(o.jobs, run(fmt.Sprint("ok", n), batchv1.JobComplete, noon.Add(time.Duration(-n)*time.Hour)),
			run(fmt.Sprint("bad", n), batchv1.JobFailed, noon.Add(time.Duration(-n)*time.Hour)))
	}
	var names []string
	for _, j := range makePlan(o).expired {
		names = append(names, j.Name)
	}
	require.ElementsMatch(t, []string{"ok3", "ok4", "bad1", "bad2", "bad3", "bad4"}, names)
	o.cron.Spec.FailedJobsHistoryLimit, o.cron.Spec.SuccessfulJobsHistoryLimit = nil, nil
	require.Empty(t, makePlan(o).expired)
}

func TestARunHasOneName(t *testing.T) {
	cj := build("0 12 * * *", func(cj *batchv1.CronJob) { cj.Spec.TimeZone = ptr("Asia/Tokyo") })
	j, err := newJob(cj, noon)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint("nightly-", noon.Unix()/60), j.Name)
	require.Equal(t, "2026-03-02T21:00:00+09:00", j.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
	require.True(t, metav1.IsControlledBy(j, cj))
}
