package deployment

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
)

// resized says that spec.replicas has changed since the sets were last sized.
func (r *rollout) resized() bool {
	for _, s := range active(r.all()) {
		if n, ok := number(s.get(), desiredAnnotation); ok && n != r.replicas() {
			return true
		}
	}
	return false
}

func number(rs *appsv1.ReplicaSet, annotation string) (int32, bool) {
	n, err := strconv.ParseInt(rs.Annotations[annotation], 10, 32)
	return int32(n), err == nil
}

// scale follows a change of spec.replicas without moving the rollout on.
func (r *rollout) scale() {
	if only := r.onlyActive(); only != nil {
		r.resize(only, r.replicas())
		return
	}
	if r.saturated() {
		for _, s := range active(r.old) {
			r.resize(s, 0)
		}
		return
	}
	if r.deployment.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		for _, s := range active(r.all()) {
			r.noteSize(s) // the old ones are about to go: there is nothing to scale
		}
		return
	}
	r.scaleInProportion()
}

// onlyActive returns the set to scale when it is clear which: the only one with pods or, when none has any, the
// current or newest one. Nil when several have pods, or there is none.
func (r *rollout) onlyActive() *set {
	switch with := active(r.all()); {
	case len(with) == 1:
		return with[0]
	case len(with) > 1:
		return nil
	case r.current != nil:
		return r.current
	case len(r.old) > 0:
		return r.old[len(r.old)-1]
	}
	return nil
}

// saturated says that the current set alone gives what is wanted.
func (r *rollout) saturated() bool {
	if r.current == nil {
		return false
	}
	desired, ok := number(r.current.get(), desiredAnnotation)
	return ok && desired == r.replicas() && r.current.replicas() == desired && r.current.get().Status.AvailableReplicas == desired
}

// scaleInProportion spreads what is to be added or taken over all sets with pods, by their size: so no version of the
// application gains or loses weight while a rollout is halfway.
func (r *rollout) scaleInProportion() {
	sets := active(r.all())
	allowed := int32(0)
	if r.replicas() > 0 {
		surge, _ := bounds(r.deployment)
		allowed = r.replicas() + surge
	}
	change := allowed - total(sets, (*set).replicas)
	// The largest first; among equals the newer one grows, the older one shrinks.
	age := map[*set]int{}
	for i, s := range sets {
		age[s] = i
	}
	slices.SortStableFunc(sets, func(a, b *set) int {
		if c := cmp.Compare(b.replicas(), a.replicas()); c != 0 {
			return c
		}
		if change > 0 {
			return age[b] - age[a]
		}
		return age[a] - age[b]
	})
	left := change
	sizes := make([]int32, len(sets))
	for i, s := range sets {
		part := r.part(s, left)
		sizes[i] = s.replicas() + part
		left -= part
	}
	if len(sets) > 0 {
		sizes[0] = max(sizes[0]+left, 0) // what rounding left over
	}
	for i, s := range sets {
		r.resize(s, sizes[i])
	}
}

// part is one set's share of a change of which left is still to be given out.
func (r *rollout) part(s *set, left int32) int32 {
	if left == 0 {
		return 0
	}
	fraction := r.fraction(s)
	if left > 0 {
		return max(min(fraction, left), 0)
	}
	return min(max(fraction, left), 0)
}

// fraction is by how much a set would change alone: in the ratio of the Deployment's new to its former full size.
func (r *rollout) fraction(s *set) int32 {
	if r.replicas() == 0 {
		return -s.replicas()
	}
	before, ok := number(s.get(), maxAnnotation)
	if !ok || before <= 0 {
		before = r.was.Status.Replicas
	}
	if before <= 0 {
		return 0
	}
	surge, _ := bounds(r.deployment)
	full := float64(r.replicas() + surge)
	return int32(math.Round(float64(s.replicas())*full/float64(before))) - s.replicas()
}
