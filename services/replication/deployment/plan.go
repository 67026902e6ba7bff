package deployment

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/services/replication/pods"
)

// observed is what there is.
type observed struct {
	deployment *appsv1.Deployment
	sets       []*appsv1.ReplicaSet
	// running says which ReplicaSets have pods that have not ended; only Recreate asks.
	running func(set types.UID) bool
	now     time.Time
}

// plan is everything to write now, in this order.
type plan struct {
	// create is the ReplicaSet of the current template, nil when there is one or it is not its time.
	create *change
	update []*change
	remove []*appsv1.ReplicaSet
	// deployment is a changed copy whose status is to be written, nil when nothing changes.
	deployment *appsv1.Deployment
	// after is when time alone may change something.
	after time.Duration
}

// change is a ReplicaSet as it should be, and what to tell about it.
type change struct {
	set   *appsv1.ReplicaSet
	event string
}

// makePlan decides the next step of a Deployment. Writing it and looking again converges; each plan by itself keeps
// the number of pods between what may be missing and what may be too many.
func makePlan(o observed) plan {
	r := newRollout(o)
	d := r.deployment
	progress := false
	switch {
	case d.DeletionTimestamp != nil:
	case d.Spec.Paused:
		r.notePaused()
		r.syncRevision()
		r.scale()
		r.trimHistory()
	case r.resized():
		r.notePaused()
		r.syncRevision()
		r.scale()
	case d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		r.notePaused()
		r.syncRevision()
		r.recreate(o.running)
		progress = true
	default:
		r.notePaused()
		r.syncRevision()
		r.roll()
		progress = true
	}
	if progress && complete(d, &d.Status) {
		r.trimHistory()
	}
	return r.plan(progress)
}

// rollout is a Deployment while its plan is made. The ReplicaSets carry the sizes planned so far.
type rollout struct {
	// deployment is a copy that the plan changes, was the original.
	deployment, was *appsv1.Deployment
	// current is the ReplicaSet of the Deployment's template, nil when there is none; old are the others, oldest first.
	current *set
	old     []*set
	remove  []*appsv1.ReplicaSet
	now     time.Time
}

// set is a ReplicaSet under change. changed is nil until something changes.
type set struct {
	was, changed *appsv1.ReplicaSet
	isNew        bool
	event        string
}

func (s *set) get() *appsv1.ReplicaSet {
	if s.changed != nil {
		return s.changed
	}
	return s.was
}

func (s *set) edit() *appsv1.ReplicaSet {
	if s.changed == nil {
		s.changed = s.was.DeepCopy()
	}
	return s.changed
}

func (s *set) replicas() int32 { return sizeOf(s.get()) }

func sizeOf(rs *appsv1.ReplicaSet) int32 {
	if rs.Spec.Replicas == nil {
		return 1
	}
	return *rs.Spec.Replicas
}

// available is how many pods of the set serve, as far as the set will keep them: a status is older than its spec.
func (s *set) available() int32 { return min(s.get().Status.AvailableReplicas, s.replicas()) }

func newRollout(o observed) *rollout {
	r := &rollout{deployment: o.deployment.DeepCopy(), was: o.deployment, now: o.now}
	sorted := slices.Clone(o.sets)
	pods.SortOldestFirst(sorted)
	for _, rs := range sorted {
		// When two have the same template (through a race), the oldest counts.
		if r.current == nil && sameTemplate(&rs.Spec.Template, &o.deployment.Spec.Template) {
			r.current = &set{was: rs}
			continue
		}
		r.old = append(r.old, &set{was: rs})
	}
	return r
}

// all returns every set, the current one last.
func (r *rollout) all() []*set {
	if r.current == nil {
		return r.old
	}
	return append(slices.Clip(r.old), r.current)
}

func (r *rollout) replicas() int32 { return wanted(r.deployment) }

func wanted(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

func total(sets []*set, count func(*set) int32) int32 {
	var n int32
	for _, s := range sets {
		n += count(s)
	}
	return n
}

func active(sets []*set) []*set {
	var out []*set
	for _, s := range sets {
		if s.replicas() > 0 {
			out = append(out, s)
		}
	}
	return out
}

// plan closes the rollout: what has changed is to be written.
func (r *rollout) plan(progress bool) plan {
	var p plan
	for _, s := range r.all() {
		switch {
		case s.isNew:
			p.create = &change{s.changed, s.event}
		case s.changed != nil:
			p.update = append(p.update, &change{s.changed, s.event})
		}
	}
	// Sets that grow come first: should a later write fail, there are rather more pods than fewer.
	slices.SortStableFunc(p.update, func(a, b *change) int { return growth(r, b) - growth(r, a) })
	p.remove = r.remove
	p.after = r.finishStatus(progress)
	if r.deployment.Annotations[revisionAnnotation] != r.was.Annotations[revisionAnnotation] || !sameStatus(&r.deployment.Status, &r.was.Status) {
		p.deployment = r.deployment
	}
	return p
}

func growth(r *rollout, c *change) int {
	for _, s := range r.all() {
		if s.changed == c.set && s.was != nil {
			return int(sizeOf(s.changed) - sizeOf(s.was))
		}
	}
	return 0
}

// hashLabel tells the pods of a Deployment's ReplicaSets apart.
const hashLabel = appsv1.DefaultDeploymentUniqueLabelKey

func ptrTo[T any](v T) *T { return &v }

func conditionOf(d *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range d.Conditions {
		if d.Conditions[i].Type == kind {
			return &d.Conditions[i]
		}
	}
	return nil
}
