// Package shutdown ends a node's pods when its machine goes down: when, and in which order.
package shutdown

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Config says how long pods have. Zero stands for the defaults.
type Config struct {
	// Grace is how long all pods together have, Critical what of it is for critical ones, which end last.
	Grace, Critical time.Duration
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	if c.Grace == 0 {
		c.Grace, c.Critical = 30*time.Second, cmp.Or(c.Critical, 10*time.Second)
	}
	c.Critical = min(c.Critical, c.Grace)
	return c
}

// Within shrinks the times to what the machine grants.
func (c Config) Within(limit time.Duration) Config {
	if limit <= 0 || c.Grace <= limit {
		return c
	}
	return Config{Grace: limit, Critical: time.Duration(float64(c.Critical) * float64(limit) / float64(c.Grace))}
}

// critical is the priority from which on a pod belongs to the node or the cluster.
const critical = 2_000_000_000

// Step ends some pods together.
type Step struct {
	Ends []End
	// Limit is when the next step begins at the latest.
	Limit time.Duration
}

// End is one pod's.
type End struct {
	Pod   *corev1.Pod
	Grace time.Duration
}

// Plan tells in which order pods end: ordinary ones, those of the lowest priority first, then critical ones. Ordinary pods
// of different priorities share the time that they have.
func Plan(pods []*corev1.Pod, c Config) []Step {
	c = c.WithDefaults()
	byPriority := map[int32][]*corev1.Pod{}
	for _, p := range pods {
		byPriority[priority(p)] = append(byPriority[priority(p)], p)
	}
	var order []int32
	ordinary := 0
	for value := range byPriority {
		order = append(order, value)
		if value < critical {
			ordinary++
		}
	}
	slices.Sort(order)
	var steps []Step
	for _, value := range order {
		limit := c.Critical / time.Duration(max(1, len(order)-ordinary))
		if value < critical {
			limit = (c.Grace - c.Critical) / time.Duration(ordinary)
		}
		step := Step{Limit: limit}
		for _, p := range byPriority[value] {
			step.Ends = append(step.Ends, End{p, min(grace(p), limit)})
		}
		steps = append(steps, step)
	}
	return steps
}

func priority(p *corev1.Pod) int32 {
	if p.Spec.Priority == nil {
		return 0
	}
	return *p.Spec.Priority
}

func grace(p *corev1.Pod) time.Duration {
	if s := p.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return 30 * time.Second
}
