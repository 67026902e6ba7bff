package deployment

import (
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// bounds returns how many pods more, and how many fewer than wanted there may be. Of a percentage of the pods, more
// are rounded up and fewer down; when both come out as 0, one pod may be missing: otherwise nothing could move.
func bounds(d *appsv1.Deployment) (surge, unavailable int32) {
	rolling := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType || rolling == nil {
		return 0, 0
	}
	surge = share(rolling.MaxSurge, wanted(d), true)
	unavailable = share(rolling.MaxUnavailable, wanted(d), false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, min(unavailable, wanted(d))
}

func share(v *intstr.IntOrString, of int32, up bool) int32 {
	if v == nil {
		return 0
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(v, int(of), up)
	if err != nil {
		return 0
	}
	return int32(max(n, 0))
}

// roll takes the next step of a rolling update.
func (r *rollout) roll() {
	if r.current == nil {
		r.createCurrent()
	}
	r.growCurrent()
	r.shrinkOld()
}

// growCurrent brings the current set as near to the wanted size as the surge allows.
func (r *rollout) growCurrent() {
	have, want := r.current.replicas(), r.replicas()
	if have > want {
		r.resize(r.current, want)
		return
	}
	surge, _ := bounds(r.deployment)
	room := want + surge - total(r.all(), (*set).replicas)
	r.resize(r.current, have+max(min(room, want-have), 0))
}

// shrinkOld takes from the old sets what is not needed for availability: first pods that do not serve anyway.
func (r *rollout) shrinkOld() {
	_, unavailable := bounds(r.deployment)
	minimum := r.replicas() - unavailable
	// Pods of the current set that do not serve yet cannot replace any.
	starting := r.current.replicas() - r.current.available()
	room := total(r.all(), (*set).replicas) - minimum - starting
	for _, s := range r.old {
		sick := min(s.replicas()-s.available(), room)
		if sick > 0 {
			r.resize(s, s.replicas()-sick)
			room -= sick
		}
	}
	spare := min(total(r.all(), (*set).available)-minimum, room)
	for _, s := range r.old {
		n := min(s.replicas(), spare)
		if n > 0 {
			r.resize(s, s.replicas()-n)
			spare -= n
		}
	}
}

// recreate stops all old pods before it starts new ones.
func (r *rollout) recreate(running func(types.UID) bool) {
	waiting := false
	for _, s := range r.old {
		if s.replicas() > 0 || s.get().Status.Replicas > 0 || running(s.get().UID) {
			waiting = true
		}
		r.resize(s, 0)
	}
	if waiting {
		return
	}
	if r.current == nil {
		r.createCurrent()
	}
	r.resize(r.current, r.replicas())
}

// resize sets a set's size, and what it notes of the Deployment's, by which a later scaling is told from a rollout.
func (r *rollout) resize(s *set, to int32) {
	from := s.replicas()
	if from != to {
		s.edit().Spec.Replicas = ptrTo(to)
		direction := "up"
		if to < from {
			direction = "down"
		}
		s.event = fmt.Sprintf("Scaled %s replica set %s from %d to %d", direction, s.get().Name, from, to)
	}
	if from != to || to > 0 || s.isNew {
		r.noteSize(s)
	}
}

func (r *rollout) noteSize(s *set) {
	surge, _ := bounds(r.deployment)
	for key, n := range map[string]int32{desiredAnnotation: r.replicas(), maxAnnotation: r.replicas() + surge} {
		if value := strconv.FormatInt(int64(n), 10); s.get().Annotations[key] != value {
			setKey(&s.edit().Annotations, key, value)
		}
	}
}
