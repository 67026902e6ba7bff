package daemonset

import (
	"cmp"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"karve.dev/karve/services/replication/pods"
)

// hashLabel tells which revision of the template a pod is made from.
const hashLabel = appsv1.DefaultDaemonSetUniqueLabelKey

// observed is what there is. Hash is the current revision's.
type observed struct {
	set   *appsv1.DaemonSet
	nodes []*corev1.Node
	pods  []*corev1.Pod
	hash  string
	now   time.Time
}

// plan is what to do now.
type plan struct {
	// create names the nodes that get a pod.
	create []string
	// failed and finished pods are removed so that new ones can take their place; surplus ones because they are too
	// many, in the wrong place, or old.
	failed, finished, surplus []*corev1.Pod
	status                    appsv1.DaemonSetStatus
	// after is when time alone makes a pod available; 0 for never.
	after time.Duration
}

// place is one node with the set's pods on it, the oldest first.
type place struct {
	name      string
	run, stay bool
	pods      []*corev1.Pod
	// fresh is the live pod of the current template, old one of an earlier template; nil for none.
	fresh, old *corev1.Pod
}

func makePlan(o observed) plan {
	var p plan
	places := o.places()
	for _, at := range places {
		p.manage(o, at)
	}
	if o.set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType && o.set.DeletionTimestamp == nil {
		p.roll(o, places)
	}
	p.count(o, places)
	if o.set.DeletionTimestamp != nil {
		p.create, p.failed, p.finished, p.surplus = nil, nil, nil, nil
	}
	return p
}

// places returns every node, and those that are gone but still have pods.
func (o observed) places() []*place {
	byName := map[string]*place{}
	for _, n := range o.nodes {
		at := &place{name: n.Name}
		at.run, at.stay = wants(&o.set.Spec.Template.Spec, n)
		byName[n.Name] = at
	}
	sorted := slices.Clone(o.pods)
	pods.SortOldestFirst(sorted)
	for _, pod := range sorted {
		name := nodeOf(pod)
		if name == "" {
			continue
		}
		at := byName[name]
		if at == nil {
			at = &place{name: name}
			byName[name] = at
		}
		at.pods = append(at.pods, pod)
	}
	var out []*place
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		at := byName[name]
		at.sort(o)
		out = append(out, at)
	}
	return out
}

func (at *place) sort(o observed) {
	for _, pod := range at.pods {
		if !pods.Active(pod) {
			continue
		}
		if o.current(pod) {
			at.fresh = firstOr(at.fresh, pod)
		} else {
			at.old = firstOr(at.old, pod)
		}
	}
}

func firstOr(a, b *corev1.Pod) *corev1.Pod {
	if a != nil {
		return a
	}
	return b
}

func (o observed) current(p *corev1.Pod) bool { return p.Labels[hashLabel] == o.hash }

func (o observed) available(p *corev1.Pod) bool {
	ok, _ := pods.Available(p, time.Duration(o.set.Spec.MinReadySeconds)*time.Second, o.now)
	return ok
}

// manage brings a node to have one pod, or none. A pod that is stopping keeps its place until it is gone.
func (p *plan) manage(o observed, at *place) {
	if !at.stay {
		for _, pod := range at.pods {
			if pod.DeletionTimestamp == nil {
				p.surplus = append(p.surplus, pod)
			}
		}
		return
	}
	if at.run && len(at.pods) == 0 {
		p.create = append(p.create, at.name)
		return
	}
	for _, pod := range at.pods {
		switch {
		case pod.DeletionTimestamp != nil:
		case pod.Status.Phase == corev1.PodFailed:
			p.failed = append(p.failed, pod)
		case pod.Status.Phase == corev1.PodSucceeded:
			p.finished = append(p.finished, pod)
		case pod != at.fresh && pod != at.old:
			p.surplus = append(p.surplus, pod)
		}
	}
	if at.fresh == nil || at.old == nil {
		return
	}
	// Without surge one of the two must go; with it, the old one stays as long as only it serves.
	if surge, _ := o.bounds(0); surge == 0 || o.available(at.fresh) || !o.available(at.old) {
		p.surplus = append(p.surplus, at.old)
	}
}

// bounds returns how many pods more and fewer than one a node there may be during a rolling update.
func (o observed) bounds(desired int) (surge, unavailable int) {
	r := o.set.Spec.UpdateStrategy.RollingUpdate
	if r == nil || o.set.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		return 0, 0
	}
	scale := func(v *intstr.IntOrString) int {
		if v == nil {
			return 0
		}
		// At least one where any are asked for: 0 of a small cluster would mean never.
		n, err := intstr.GetScaledValueFromIntOrPercent(v, max(desired, 1), true)
		if err != nil {
			return 0
		}
		return max(n, 0)
	}
	return scale(r.MaxSurge), scale(r.MaxUnavailable)
}

// roll replaces old pods, as many at a time as may be missing, or may be there in addition.
func (p *plan) roll(o observed, places []*place) {
	desired := 0
	for _, at := range places {
		if at.run {
			desired++
		}
	}
	surge, unavailable := o.bounds(desired)
	if surge > 0 {
		p.rollWithSurge(o, places, surge)
		return
	}
	missing := 0
	var sick, well []*corev1.Pod
	for _, at := range places {
		switch {
		case !at.run:
		case at.fresh == nil && at.old == nil, at.fresh != nil && at.old != nil:
			missing++
		case at.fresh != nil:
			if !o.available(at.fresh) {
				missing++
			}
		case !o.available(at.old):
			missing++
			sick = append(sick, at.old) // replacing what does not serve costs nothing
		default:
			well = append(well, at.old)
		}
	}
	p.surplus = append(p.surplus, sick...)
	p.surplus = append(p.surplus, well[:min(max(unavailable-missing, 0), len(well))]...)
}

// rollWithSurge starts the new pod beside the old one, which goes once the new one serves.
func (p *plan) rollWithSurge(o observed, places []*place, surge int) {
	extra := 0
	var waiting []string
	for _, at := range places {
		switch {
		case !at.run || at.old == nil:
		case at.fresh != nil:
			if !o.available(at.fresh) && o.available(at.old) {
				extra++
			}
		case !o.available(at.old):
			p.create = append(p.create, at.name) // in the place of one that does not serve
		default:
			waiting = append(waiting, at.name)
		}
	}
	p.create = append(p.create, waiting[:min(max(surge-extra, 0), len(waiting))]...)
}

func (p *plan) count(o observed, places []*place) {
	s := &p.status
	s.ObservedGeneration = o.set.Generation
	s.CollisionCount = o.set.Status.CollisionCount
	s.Conditions = o.set.Status.Conditions
	minReady := time.Duration(o.set.Spec.MinReadySeconds) * time.Second
	for _, at := range places {
		switch {
		case !at.run && len(at.pods) > 0:
			s.NumberMisscheduled++
		case at.run:
			s.DesiredNumberScheduled++
		}
		if !at.run || len(at.pods) == 0 {
			continue
		}
		s.CurrentNumberScheduled++
		if at.fresh != nil {
			s.UpdatedNumberScheduled++
		}
		best := at.best(o)
		if best == nil {
			continue
		}
		if _, ready := pods.Ready(best); ready {
			s.NumberReady++
		}
		available, wait := pods.Available(best, minReady, o.now)
		if available {
			s.NumberAvailable++
		} else if wait > 0 && (p.after == 0 || wait < p.after) {
			p.after = wait
		}
	}
	s.NumberUnavailable = s.DesiredNumberScheduled - s.NumberAvailable
}

// best is the live pod that serves the node.
func (at *place) best(o observed) *corev1.Pod {
	live := slices.DeleteFunc([]*corev1.Pod{at.fresh, at.old}, func(p *corev1.Pod) bool { return p == nil })
	if len(live) == 0 {
		return nil
	}
	return slices.MaxFunc(live, func(a, b *corev1.Pod) int {
		return cmp.Compare(map[bool]int{true: 1}[o.available(a)], map[bool]int{true: 1}[o.available(b)])
	})
}
