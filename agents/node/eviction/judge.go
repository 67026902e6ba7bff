package eviction

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/machine"
)

// transition is how long a shortage must be over before the node says so, by default.
const transition = 5 * time.Minute

// Judge remembers since when thresholds have been passed.
type Judge struct {
	cfg   Config
	since map[Threshold]time.Time
	last  map[corev1.NodeConditionType]time.Time
}

// NewJudge returns a judge that has seen nothing yet.
func NewJudge(cfg Config) *Judge {
	if cfg.Thresholds == nil {
		cfg.Thresholds = Default()
	}
	if cfg.Transition == 0 {
		cfg.Transition = transition
	}
	return &Judge{cfg: cfg, since: map[Threshold]time.Time{}, last: map[corev1.NodeConditionType]time.Time{}}
}

// Passed is a threshold that was passed for long enough: something must be done.
type Passed struct {
	Threshold
	Observation
}

// Verdict is what figures mean.
type Verdict struct {
	// Short are the conditions that are true of the node.
	Short map[corev1.NodeConditionType]bool
	// Act are the thresholds because of which something must be done, the most urgent first.
	Act []Passed
	// Soon is true when a shortage is there or was a moment ago: look again before long.
	Soon bool
}

// Look judges figures.
func (j *Judge) Look(f *machine.Figures, now time.Time) Verdict {
	v := Verdict{Short: map[corev1.NodeConditionType]bool{}}
	for _, t := range j.cfg.Thresholds {
		o := signals[order(t.Signal)].observe(f)
		if !t.met(o) {
			delete(j.since, t)
			continue
		}
		if _, known := j.since[t]; !known {
			j.since[t] = now
		}
		j.last[t.Signal.Condition()] = now
		v.Soon = true
		if now.Sub(j.since[t]) >= t.Grace {
			v.Act = append(v.Act, Passed{t, o})
		}
	}
	for condition, last := range j.last {
		if v.Short[condition] = now.Sub(last) < j.cfg.Transition; !v.Short[condition] {
			delete(j.last, condition)
		}
	}
	// Hard ones before soft ones of the same signal: they leave no time.
	slices.SortStableFunc(v.Act, func(a, b Passed) int {
		return cmp.Or(cmp.Compare(order(a.Signal), order(b.Signal)), cmp.Compare(a.Grace, b.Grace))
	})
	return v
}

// conditionTexts are reason and message of a node's conditions, for true and false.
var conditionTexts = map[corev1.NodeConditionType][2][2]string{
	corev1.NodeMemoryPressure: {
		{"KubeletHasInsufficientMemory", "kubelet has insufficient memory available"},
		{"KubeletHasSufficientMemory", "kubelet has sufficient memory available"},
	},
	corev1.NodeDiskPressure: {
		{"KubeletHasDiskPressure", "kubelet has disk pressure"}, {"KubeletHasNoDiskPressure", "kubelet has no disk pressure"},
	},
	corev1.NodePIDPressure: {
		{"KubeletHasInsufficientPID", "kubelet has insufficient PID available"}, {"KubeletHasSufficientPID", "kubelet has sufficient PID available"},
	},
}

// Conditions are a node's conditions about shortages.
func (v Verdict) Conditions() []corev1.NodeCondition {
	var out []corev1.NodeCondition
	for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		c := corev1.NodeCondition{Type: kind, Status: corev1.ConditionFalse}
		text := conditionTexts[kind][1]
		if v.Short[kind] {
			c.Status, text = corev1.ConditionTrue, conditionTexts[kind][0]
		}
		c.Reason, c.Message = text[0], text[1]
		out = append(out, c)
	}
	return out
}

// GracePeriod is how long a pod may take to end that has to go because of a threshold.
func (j *Judge) GracePeriod(p Passed, pod *corev1.Pod) time.Duration {
	if p.Grace == 0 {
		return 0
	}
	own := j.cfg.MaxGrace
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		own = min(own, time.Duration(*s)*time.Second)
	}
	return own
}
