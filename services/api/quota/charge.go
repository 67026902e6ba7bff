package quota

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/services/api/registry"
)

// charge returns the quotas as they are after a write, or why one of them forbids it. A quota that does not change is
// returned as it is, one that does as a copy. Old is what is stored, nil for a create.
func charge(w *Write, old registry.Object, quotas []*booked, now time.Time) ([]*booked, error) {
	ev := evaluatorOf(w.groupResource())
	concerned, err := concernedBy(w, ev, quotas)
	if err != nil || len(concerned) == 0 {
		return quotas, err
	}
	out := append([]*booked(nil), quotas...)
	for _, i := range concerned {
		q := quotas[i]
		names := ev.counted(q.Status.Hard)
		use := ev.use(names, w.Object, now)
		if bad := negative(use); len(bad) > 0 {
			return nil, w.forbidden(fmt.Errorf("quota usage is negative for resource(s): %s", shownNames(bad)))
		}
		var before corev1.ResourceList
		if old != nil && ev.matches(q.ResourceQuota, old) {
			before = ev.use(names, old, now)
		}
		more := growth(use, before)
		if len(more) == 0 {
			continue
		}
		used := corev1.ResourceList{}
		for name, u := range q.Status.Used {
			used[name] = u.DeepCopy()
		}
		addTo(used, more)
		if over := exceeded(used, more, q.Status.Hard); len(over) > 0 && w.Subresource != "status" {
			return nil, w.forbidden(fmt.Errorf("exceeded quota: %s, requested: %s, used: %s, limited: %s",
				q.Name, shown(only(more, over)), shown(only(q.Status.Used, over)), shown(only(q.Status.Hard, over))))
		}
		changed := &booked{q.DeepCopy(), q.revision}
		changed.Status.Used = used
		out[i] = changed
	}
	return out, nil
}

// concernedBy returns which of the quotas the object of a write counts for.
func concernedBy(w *Write, ev *evaluator, quotas []*booked) ([]int, error) {
	var out []int
	for i, q := range quotas {
		names := ev.counted(q.Status.Hard)
		if len(names) == 0 || !ev.matches(q.ResourceQuota, w.Object) {
			continue
		}
		if ev.demand != nil {
			if err := ev.demand(names, w.Object); err != nil {
				return nil, w.forbidden(fmt.Errorf("failed quota: %s: %w", q.Name, err))
			}
		}
		for _, name := range names {
			if _, known := q.Status.Used[name]; !known {
				return nil, w.forbidden(errors.New("status unknown for quota: " + q.Name + ", resources: " + shownNames(names)))
			}
		}
		out = append(out, i)
	}
	return out, nil
}

func negative(list corev1.ResourceList) []corev1.ResourceName {
	var out []corev1.ResourceName
	for name, q := range list {
		if q.Sign() < 0 {
			out = append(out, name)
		}
	}
	return out
}

// exceeded returns what of more leads above the limits.
func exceeded(used, more, hard corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name := range more {
		u := used[name]
		if limit, ok := hard[name]; ok && u.Cmp(limit) > 0 {
			out[name] = u
		}
	}
	return out
}
