package probe

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// job is one probe of one container.
type job struct {
	*subject
	kind  kind
	probe *corev1.Probe
	asks  *question // nil when the probe may block
	due   time.Time
	// streak counts equal results in a row: positive for successes.
	streak int
	// regular is when the probe is due by its period. Within its first period a container that is not up yet is asked
	// more often, so that one that comes up in a moment need not wait for the second; these extra probes do not count
	// when they fail.
	regular time.Time
	begins  time.Time
	hurry   time.Duration
}

// firstHurry is the pause before the first extra probe; the next ones double.
const firstHurry = 25 * time.Millisecond

func (j *job) timeout() time.Duration { return max(seconds(j.probe.TimeoutSeconds), time.Second) }

func (j *job) period() time.Duration { return max(seconds(j.probe.PeriodSeconds), time.Second) }

// tick is what times are rounded up to, so that probes fall together and wake the agent rarely. It divides all periods:
// each probe keeps its own place in the second, and its period exactly.
const tick = 100 * time.Millisecond

func nextTick(t time.Time) time.Time {
	return t.Add((tick - time.Duration(t.UnixNano())%tick) % tick)
}

// schedule decides when the job is due next. Periods that were missed are left out, so that probes that begin together, as
// after a restart of the agent, come apart as they were.
func (j *job) schedule(now time.Time) {
	if missed := now.Sub(j.regular); missed >= 0 {
		j.regular = j.regular.Add(missed.Truncate(j.period()) + j.period())
	}
	j.due = nextTick(j.regular)
	if extra := now.Add(j.hurry); j.early(now) && extra.Before(j.regular) {
		j.due, j.hurry = extra, j.hurry*2
	}
}

// early tells whether extra probes make sense: the container has just begun and is not up.
func (j *job) early(now time.Time) bool {
	up := j.kind.name == "liveness" || j.kind.name == "readiness" && j.health.Ready || j.kind.name == "startup" && j.health.Started
	return !up && now.Before(j.begins.Add(j.period()))
}

// kind is one of the three purposes of a probe.
type kind struct {
	name string
	get  func(*corev1.Container) *corev1.Probe
}

var kinds = []kind{
	{"startup", func(c *corev1.Container) *corev1.Probe { return c.StartupProbe }},
	{"liveness", func(c *corev1.Container) *corev1.Probe { return c.LivenessProbe }},
	{"readiness", func(c *corev1.Container) *corev1.Probe { return c.ReadinessProbe }},
}

const numKinds = 3

// tally counts a result for those who look at metrics.
func (j *job) tally(success bool) {
	for i := range kinds {
		if c := &j.counts[i]; kinds[i].name == j.kind.name && success {
			c.Succeeded++
		} else if kinds[i].name == j.kind.name {
			c.Failed++
		}
	}
}

func (j *job) count(success bool) {
	switch {
	case success:
		j.streak = max(j.streak, 0) + 1
	default:
		j.streak = min(j.streak, 0) - 1
	}
	succeeded := j.streak >= max(int(j.probe.SuccessThreshold), 1)
	failed := -j.streak >= max(int(j.probe.FailureThreshold), 1)
	switch j.kind.name {
	case "startup":
		j.health.Started = j.health.Started || succeeded
		if failed {
			j.health.Failed = j.kind.name
		}
	case "liveness":
		if failed {
			j.health.Failed = j.kind.name
		}
	case "readiness":
		if succeeded {
			j.health.Ready = true
		} else if failed {
			j.health.Ready = false
		}
	}
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

// queue is a heap of jobs, the next one due first.
type queue []*job

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(*job)) }
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return last
}
