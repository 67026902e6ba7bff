package quota

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"

	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/watch"
)

// measured tells whether a quota's status is about what it limits now.
func measured(q *corev1.ResourceQuota) bool {
	return q.Status.Used != nil && equality.Semantic.DeepEqual(q.Spec.Hard, q.Status.Hard)
}

// measure returns a quota's status by the objects that are there, and when it changes by time alone (zero: never). The
// collections must have come to the quota's revision: whatever was charged to it before is among the objects then, and
// whatever is charged later makes a commit against this revision fail. So a status that is committed is never wrong.
func (l *Ledger) measure(q *booked, now time.Time) (*booked, time.Time, error) {
	out := &booked{q.DeepCopy(), q.revision}
	out.Status.Hard, out.Status.Used = corev1.ResourceList{}, corev1.ResourceList{}
	for name, limit := range q.Spec.Hard {
		out.Status.Hard[name] = limit.DeepCopy()
	}
	var again time.Time
	for _, ev := range evaluatorsFor(q.Spec.Hard) {
		kind, objects := l.objects.Resource(ev.resource)
		if objects == nil {
			continue
		}
		names := ev.counted(q.Spec.Hard)
		sums := corev1.ResourceList{}
		for _, name := range names {
			sums[name] = resource.Quantity{Format: resource.DecimalSI}
		}
		next, err := addUp(sums, q.ResourceQuota, ev, kind, objects, names, now)
		if err != nil {
			return nil, again, err
		}
		if again.IsZero() || !next.IsZero() && next.Before(again) {
			again = next
		}
		for name, sum := range sums {
			out.Status.Used[name] = sum
		}
	}
	return out, again, nil
}

// addUp adds to sums what the objects of one kind use.
func addUp(sums corev1.ResourceList, q *corev1.ResourceQuota, ev *evaluator, kind *registry.Kind, objects *watch.Collection, names []corev1.ResourceName, now time.Time) (again time.Time, err error) {
	entries := objects.List(watch.Query{Namespace: q.Namespace}).Entries
	if ev.usage == nil {
		if len(scopesOf(q)) == 0 {
			for _, name := range names {
				sums[name] = count(len(entries))
			}
		}
		return again, nil
	}
	for _, e := range entries {
		obj, err := codec.Load(kind, e.Value, e.Revision)
		if err != nil {
			return again, fmt.Errorf("read %s %s/%s: %w", kind.Resource, e.Namespace, e.Name, err)
		}
		if !ev.matches(q, obj) {
			continue
		}
		addTo(sums, ev.use(names, obj, now))
		if ev.until != nil {
			if end := ev.until(obj, now); !end.IsZero() && (again.IsZero() || end.Before(again)) {
				again = end
			}
		}
	}
	return again, nil
}
