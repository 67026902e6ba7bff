package statefulset

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"karve.dev/karve/services/replication/pods"
)

// observed is what there is. current is the revision that pods had before the update under way, update the newest one;
// without an update they are the same.
type observed struct {
	set             *appsv1.StatefulSet
	pods            []*corev1.Pod
	current, update *appsv1.ControllerRevision
	now             time.Time
}

// plan is what to do now.
type plan struct {
	create []creation
	// ended are pods that have failed or finished and are made anew; old are those of an earlier template; surplus those
	// beyond the number of replicas, the highest first.
	ended, old, surplus []*corev1.Pod
	status              appsv1.StatefulSetStatus
	after               time.Duration
}

// creation is a pod to make.
type creation struct {
	ordinal  int
	revision *appsv1.ControllerRevision
}

// slot is one place of the set; pod is nil when it is empty.
type slot struct {
	ordinal int
	pod     *corev1.Pod
}

func makePlan(o observed) plan {
	slots, condemned := o.slots()
	var p plan
	p.count(o, slots)
	if o.set.DeletionTimestamp != nil {
		return p
	}
	if p.fill(o, slots) && p.shrink(o, slots, condemned) {
		p.roll(o, slots)
	}
	return p
}

func (o observed) replicas() int {
	if o.set.Spec.Replicas == nil {
		return 1
	}
	return int(*o.set.Spec.Replicas)
}

func (o observed) first() int {
	if o.set.Spec.Ordinals == nil {
		return 0
	}
	return int(o.set.Spec.Ordinals.Start)
}

// ordered says that one pod is dealt with after the other.
func (o observed) ordered() bool {
	return o.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
}

// slots returns the set's places in order, and the pods that have none, the highest first.
func (o observed) slots() (slots []slot, condemned []*corev1.Pod) {
	slots = make([]slot, o.replicas())
	for i := range slots {
		slots[i].ordinal = o.first() + i
	}
	for _, pod := range o.pods {
		n, ok := ordinalOf(o.set, pod.Name)
		switch at := n - o.first(); {
		case !ok:
		case at >= 0 && at < len(slots):
			slots[at].pod = pod
		default:
			condemned = append(condemned, pod)
		}
	}
	slices.SortFunc(condemned, func(a, b *corev1.Pod) int {
		x, _ := ordinalOf(o.set, a.Name)
		y, _ := ordinalOf(o.set, b.Name)
		return cmp.Compare(y, x)
	})
	return slots, condemned
}

// healthy says that the pod has served for long enough and is to go on.
func (o observed) healthy(p *corev1.Pod) bool {
	return p != nil && p.DeletionTimestamp == nil && o.available(p)
}

func (o observed) available(p *corev1.Pod) bool {
	ok, _ := pods.Available(p, time.Duration(o.set.Spec.MinReadySeconds)*time.Second, o.now)
	return ok && p.Status.Phase == corev1.PodRunning
}

// fill makes missing pods, from the lowest. It says whether the plan may go on: in an ordered set only when every pod
// serves.
func (p *plan) fill(o observed, slots []slot) bool {
	for _, s := range slots {
		acted := true
		switch {
		case s.pod == nil:
			p.create = append(p.create, creation{s.ordinal, o.revisionFor(s.ordinal)})
		case pods.Finished(s.pod) && s.pod.DeletionTimestamp == nil:
			p.ended = append(p.ended, s.pod)
		default:
			acted = false
		}
		if o.ordered() && (acted || !o.healthy(s.pod)) {
			return false
		}
	}
	return true
}

// revisionFor is what a new pod is made from: below the partition, what was there before.
func (o observed) revisionFor(ordinal int) *appsv1.ControllerRevision {
	if o.set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType && ordinal < o.first()+o.partition() {
		return o.current
	}
	return o.update
}

func (o observed) partition() int {
	r := o.set.Spec.UpdateStrategy.RollingUpdate
	if r == nil || r.Partition == nil {
		return 0
	}
	return int(*r.Partition)
}

// shrink deletes pods beyond the number of replicas, the highest first; in an ordered set one at a time.
func (p *plan) shrink(o observed, slots []slot, condemned []*corev1.Pod) bool {
	sick := o.firstUnhealthy(slots, condemned)
	for _, pod := range condemned {
		if pod.DeletionTimestamp != nil {
			if o.ordered() {
				return false
			}
			continue
		}
		if o.ordered() && !o.healthy(pod) && pod != sick {
			return false // an unhealthy one below goes first to heal
		}
		p.surplus = append(p.surplus, pod)
		if o.ordered() {
			return false
		}
	}
	return true
}

func (o observed) firstUnhealthy(slots []slot, condemned []*corev1.Pod) *corev1.Pod {
	for _, s := range slots {
		if s.pod != nil && !o.healthy(s.pod) {
			return s.pod
		}
	}
	for _, pod := range slices.Backward(condemned) {
		if !o.healthy(pod) {
			return pod
		}
	}
	return nil
}

// roll replaces pods of an earlier template, from the highest down to the partition, as many at a time as may be
// missing. What does not serve holds up the rest.
func (p *plan) roll(o observed, slots []slot) {
	if o.set.Spec.UpdateStrategy.Type != appsv1.RollingUpdateStatefulSetStrategyType {
		return
	}
	room := o.maxUnavailable()
	for _, s := range slots {
		if !o.healthy(s.pod) {
			room--
		}
	}
	for i := len(slots) - 1; i >= o.partition() && i >= 0; i-- {
		pod := slots[i].pod
		if pod == nil || pod.DeletionTimestamp != nil || pod.Labels[revisionLabel] == o.update.Name {
			continue
		}
		// One that does not serve is counted as missing already.
		if o.healthy(pod) {
			if room <= 0 {
				return
			}
			room--
		} else if room < 0 {
			return
		}
		p.old = append(p.old, pod)
	}
}

func (o observed) maxUnavailable() int {
	r := o.set.Spec.UpdateStrategy.RollingUpdate
	if r == nil || r.MaxUnavailable == nil {
		return 1
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(r.MaxUnavailable, o.replicas(), false)
	if err != nil {
		return 1
	}
	return max(n, 1)
}

func (p *plan) count(o observed, slots []slot) {
	s := &p.status
	s.ObservedGeneration = o.set.Generation
	s.CollisionCount = o.set.Status.CollisionCount
	s.Conditions = o.set.Status.Conditions
	s.CurrentRevision, s.UpdateRevision = o.current.Name, o.update.Name
	minReady := time.Duration(o.set.Spec.MinReadySeconds) * time.Second
	for _, pod := range o.pods {
		if _, ok := ordinalOf(o.set, pod.Name); !ok {
			continue
		}
		s.Replicas++
		if _, ready := pods.Ready(pod); ready && pod.Status.Phase == corev1.PodRunning {
			s.ReadyReplicas++
			available, wait := pods.Available(pod, minReady, o.now)
			if available {
				s.AvailableReplicas++
			} else if wait > 0 && (p.after == 0 || wait < p.after) {
				p.after = wait
			}
		}
		if pod.DeletionTimestamp != nil {
			continue
		}
		if pod.Labels[revisionLabel] == o.current.Name {
			s.CurrentReplicas++
		}
		if pod.Labels[revisionLabel] == o.update.Name {
			s.UpdatedReplicas++
		}
	}
	// The update is done when every pod is of the new template and serves.
	if o.set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType &&
		s.UpdatedReplicas == s.Replicas && s.ReadyReplicas == s.Replicas && int(s.Replicas) == len(slots) {
		s.CurrentReplicas, s.CurrentRevision = s.UpdatedReplicas, s.UpdateRevision
	}
}
