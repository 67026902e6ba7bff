package cronjob

import (
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
)

// manyMissed is how many runs may be missed before an event says so.
const manyMissed = 100

// parse reads a CronJob's schedule in its time zone.
func parse(cj *batchv1.CronJob) (cron.Schedule, error) {
	text := cj.Spec.Schedule
	if z := cj.Spec.TimeZone; z != nil {
		text = "TZ=" + *z + " " + text
	}
	return cron.ParseStandard(text)
}

// runs is where a schedule stands.
type runs struct {
	// due is the last run whose time has come since the last one, zero when there is none.
	due time.Time
	// next is the first one after now, zero when there never is one.
	next time.Time
	// many says that a great number was missed.
	many bool
}

// since finds the runs after the last one; what lies before the starting deadline is not looked at.
func since(cj *batchv1.CronJob, s cron.Schedule, now time.Time) (runs, error) {
	from := cj.CreationTimestamp.Time
	if t := cj.Status.LastScheduleTime; t != nil {
		from = t.Time
	}
	if d := cj.Spec.StartingDeadlineSeconds; d != nil {
		if earliest := now.Add(-time.Duration(*d) * time.Second); earliest.After(from) {
			from = earliest
		}
	}
	first := s.Next(from)
	if first.IsZero() || first.After(now) {
		return runs{next: first}, nil
	}
	second := s.Next(first)
	if !second.IsZero() && second.Sub(first) < time.Second {
		return runs{}, fmt.Errorf("runs less than a second apart")
	}
	due, next := last(s, from, first, now)
	r := runs{due: due, next: next}
	if !second.IsZero() {
		r.many = now.Sub(from)/second.Sub(first) > manyMissed
	}
	return r, nil
}

// last returns the last run in (from, now] and the first one after it. There is one: first.
func last(s cron.Schedule, from, first, now time.Time) (due, next time.Time) {
	if every, ok := s.(cron.ConstantDelaySchedule); ok {
		due = first.Add(now.Sub(first) / every.Delay * every.Delay)
		return due, due.Add(every.Delay)
	}
	// The run after t never comes earlier when t is later: the last t whose run has come is found by halving.
	low, high := from, now
	for high.Sub(low) > time.Second {
		middle := low.Add(high.Sub(low) / 2)
		if t := s.Next(middle); t.IsZero() || t.After(now) {
			high = middle
		} else {
			low = middle
		}
	}
	due = s.Next(low)
	return due, s.Next(due)
}
