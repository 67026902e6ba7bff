package autoscaler

import (
	"math"
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// usualRest is how long fewer pods must have sufficed before there are fewer.
const usualRest = 5 * time.Minute

// Rules for those who say nothing: up at once and fast, down after a while.
// See https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#default-behavior.
var (
	usualUp = []autoscalingv2.HPAScalingPolicy{
		{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15}, {Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
	}
	usualDown = []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15}}
)

// rules are how fast and how readily replicas may change in one direction.
type rules struct {
	rest     time.Duration
	policies []autoscalingv2.HPAScalingPolicy
	choose   autoscalingv2.ScalingPolicySelect
}

func rulesOf(given *autoscalingv2.HPAScalingRules, usual rules) rules {
	out := usual
	out.choose = autoscalingv2.MaxChangePolicySelect
	if given == nil {
		return out
	}
	if s := given.StabilizationWindowSeconds; s != nil {
		out.rest = time.Duration(*s) * time.Second
	}
	if given.Policies != nil {
		out.policies = given.Policies
	}
	if given.SelectPolicy != nil {
		out.choose = *given.SelectPolicy
	}
	return out
}

// pace is how replicas may change.
type pace struct{ up, down rules }

func paceOf(b *autoscalingv2.HorizontalPodAutoscalerBehavior) pace {
	if b == nil {
		b = &autoscalingv2.HorizontalPodAutoscalerBehavior{}
	}
	return pace{up: rulesOf(b.ScaleUp, rules{policies: usualUp}), down: rulesOf(b.ScaleDown, rules{rest: usualRest, policies: usualDown})}
}

// mark is a number at a time.
type mark struct {
	at time.Time
	n  int32
}

// history is what an autoscaler has recommended and done of late.
type history struct {
	advice      []mark // what was recommended
	added, gone []mark // by how much replicas have changed
}

// forget drops what no rule of p looks at any more.
func (h *history) forget(p pace, now time.Time) {
	longest := func(r rules) (period time.Duration) {
		for _, policy := range r.policies {
			period = max(period, time.Duration(policy.PeriodSeconds)*time.Second)
		}
		return period
	}
	drop := func(list *[]mark, age time.Duration) {
		*list = slices.DeleteFunc(*list, func(m mark) bool { return m.at.Before(now.Add(-age)) })
	}
	drop(&h.advice, max(p.up.rest, p.down.rest))
	period := max(longest(p.up), longest(p.down))
	drop(&h.added, period)
	drop(&h.gone, period)
}

// changed notes that replicas have been changed.
func (h *history) changed(from, to int32, now time.Time) {
	if to > from {
		h.added = append(h.added, mark{now, to - from})
	} else {
		h.gone = append(h.gone, mark{now, from - to})
	}
}

// verdict says why replicas become what they do, for a condition.
type verdict struct{ reason, message string }

var (
	ready  = verdict{"ReadyForNewScale", "recommended size matches current size"}
	calmUp = verdict{"ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation"}
	calm   = verdict{"ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation"}

	inRange   = verdict{"DesiredWithinRange", "the desired count is within the acceptable range"}
	tooFast   = verdict{"ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"}
	tooMany   = verdict{"TooManyReplicas", "the desired replica count is more than the maximum replica count"}
	tooFastIn = verdict{"ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"}
	tooFew    = verdict{"TooFewReplicas", "the desired replica count is less than the minimum replica count"}
)

// settle is what becomes of a recommendation: recent ones that speak against a change hold it up.
func (h *history) settle(p pace, current, wanted int32, now time.Time) (int32, verdict) {
	least, most := wanted, wanted
	for _, m := range h.advice {
		if m.at.After(now.Add(-p.up.rest)) {
			least = min(least, m.n)
		}
		if m.at.After(now.Add(-p.down.rest)) {
			most = max(most, m.n)
		}
	}
	h.advice = append(h.advice, mark{now, wanted})
	out := min(max(current, least), most)
	switch {
	case out == wanted:
		return out, ready
	case wanted >= current:
		return out, calmUp
	}
	return out, calm
}

// bounded is what remains of a change within the rates and the bounds of an autoscaler.
func (h *history) bounded(p pace, current, wanted, least, most int32, now time.Time) (int32, verdict) {
	switch {
	case wanted > current:
		limit, why := most, tooMany
		if fastest := max(h.limit(p.up, 1, current, now), current); fastest < most {
			limit, why = fastest, tooFast
		}
		if wanted > limit {
			return limit, why
		}
	case wanted < current:
		limit, why := least, tooFew
		if fastest := min(h.limit(p.down, -1, current, now), current); fastest > least {
			limit, why = fastest, tooFastIn
		}
		if wanted < limit {
			return limit, why
		}
	}
	return wanted, inRange
}

// limit is how many replicas there may be at the end of a change upwards (1) or downwards (-1).
func (h *history) limit(r rules, direction, current int32, now time.Time) int32 {
	if r.choose == autoscalingv2.DisabledPolicySelect {
		return current
	}
	var out int32
	for i, policy := range r.policies {
		since := now.Add(-time.Duration(policy.PeriodSeconds) * time.Second)
		atStart := current - total(h.added, since) + total(h.gone, since)
		proposed := atStart + direction*policy.Value
		if policy.Type == autoscalingv2.PercentScalingPolicy {
			share := float64(atStart) * (1 + float64(direction*policy.Value)/100)
			// Rounded away from the start: a small percentage of few replicas is one.
			proposed = int32(math.Ceil(share))
			if direction < 0 {
				proposed = int32(math.Floor(share))
			}
		}
		further := direction*proposed > direction*out
		if i == 0 || further == (r.choose != autoscalingv2.MinChangePolicySelect) {
			out = proposed
		}
	}
	return out
}

func total(list []mark, since time.Time) (sum int32) {
	for _, m := range list {
		if m.at.After(since) {
			sum += m.n
		}
	}
	return sum
}
