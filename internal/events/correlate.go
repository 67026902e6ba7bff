package events

import (
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/lru"
)

// The numbers are client-go's, so that a cluster's event list reads as people are used to.
const (
	remembered      = 2048
	similarLimit    = 10
	similarInterval = 10 * time.Minute
	objectBurst     = 25
	objectRefill    = 5 * time.Minute
	combinedPrefix  = "(combined from similar events): "
)

type verdict int

const (
	suppress verdict = iota
	create
	patch
)

// correlator decides what becomes of each event. It has no clock and does no I/O; its memory is bounded. It is not
// safe for concurrent use.
type correlator struct {
	repeats *lru.Cache // eventKey → *repeat
	similar *lru.Cache // similarKey → *group
	budgets *lru.Cache // budgetKey → *rate.Limiter
}

// budgetKey is an object and a type of events: what warns again and again must not use up what is left for the rest.
type budgetKey struct {
	component, host, kind, namespace, name, uid, apiVersion, eventType string
}

type similarKey struct {
	budgetKey
	fieldPath, reason string
}

type eventKey struct {
	similarKey
	message string
}

type repeat struct {
	name  string
	count int32
	first metav1.Time
	// stored is true once the API has the Event under name.
	stored bool
}

type group struct {
	messages map[string]bool
	last     time.Time
}

func newCorrelator() *correlator {
	return &correlator{repeats: lru.New(remembered), similar: lru.New(remembered), budgets: lru.New(remembered)}
}

func keysOf(ev *corev1.Event) similarKey {
	o := ev.InvolvedObject
	return similarKey{
		budgetKey: budgetKey{ev.Source.Component, ev.Source.Host, o.Kind, o.Namespace, o.Name, string(o.UID), o.APIVersion, ev.Type},
		fieldPath: o.FieldPath, reason: ev.Reason,
	}
}

// observe returns the Event to write and how: the first of its kind is created, a repeat raises the count of the one
// that exists, more than a few that differ only in their message share one, and what exceeds the object's budget goes
// unwritten (its count is kept).
func (c *correlator) observe(ev *corev1.Event, now time.Time) (*corev1.Event, verdict) {
	base := keysOf(ev)
	key := eventKey{base, ev.Message}
	if c.combine(base, ev.Message, now) {
		ev.Message = combinedPrefix + ev.Message
		key.message = combinedPrefix
	}
	known, ok := lookup[*repeat](c.repeats, key)
	if !ok {
		known = &repeat{name: ev.Name, first: ev.FirstTimestamp}
		c.repeats.Add(key, known)
	}
	known.count++
	ev.Name, ev.Count, ev.FirstTimestamp = known.name, known.count, known.first
	if !c.allow(base.budgetKey, now) {
		return ev, suppress
	}
	if known.stored {
		return ev, patch
	}
	return ev, create
}

// stored notes that the API has ev.
func (c *correlator) stored(ev *corev1.Event) {
	key := eventKey{keysOf(ev), ev.Message}
	known, ok := lookup[*repeat](c.repeats, key)
	if !ok {
		key.message = combinedPrefix
		known, ok = lookup[*repeat](c.repeats, key)
	}
	if ok {
		known.name, known.stored = ev.Name, true
	}
}

// combine notes a message and says whether its group has so many different ones that they share an Event.
func (c *correlator) combine(key similarKey, message string, now time.Time) bool {
	g, ok := lookup[*group](c.similar, key)
	if !ok || now.Sub(g.last) > similarInterval {
		g = &group{messages: map[string]bool{}}
		c.similar.Add(key, g)
	}
	g.last = now
	if len(g.messages) < similarLimit || g.messages[message] {
		g.messages[message] = true
		return false
	}
	return true
}

func (c *correlator) allow(key budgetKey, now time.Time) bool {
	budget, ok := lookup[*rate.Limiter](c.budgets, key)
	if !ok {
		budget = rate.NewLimiter(rate.Every(objectRefill), objectBurst)
		c.budgets.Add(key, budget)
	}
	return budget.AllowN(now, 1)
}

func lookup[V any](cache *lru.Cache, key any) (V, bool) {
	found, ok := cache.Get(key)
	if !ok {
		var none V
		return none, false
	}
	return found.(V), true
}
