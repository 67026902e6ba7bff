package autoscaler

import (
	"errors"
	"fmt"
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"karve.dev/karve/internal/conditions"
)

const (
	// warmUp is how long a pod that starts may use more processor time than it will later.
	warmUp = 5 * time.Minute
	// firstReady is how soon after its start a pod that is not ready has never been.
	firstReady = 30 * time.Second
	// usualTolerance is the part by which pods may be off their target before anything is changed.
	usualTolerance = 0.1
)

// Figures of pods that start come by themselves.
var (
	errUnready   = errors.New("did not receive metrics for targeted pods (pods might be unready)")
	errNoFigures = errors.New("no metrics returned from resource metrics API")
)

// sample is what a pod uses of a resource, in thousandths of its unit, over the window before at.
type sample struct {
	value  int64
	at     time.Time
	window time.Duration
}

// goal is what pods should use on average: a percentage of what they request, or an amount in thousandths.
type goal struct {
	resource  corev1.ResourceName
	container string // of each pod; empty for the whole pod
	percent   int32
	amount    int64 // where percent is zero
}

// tolerance is how far the ratio of use and goal may be from one.
type tolerance struct{ up, down float64 }

func (t tolerance) covers(ratio float64) bool { return 1-t.down <= ratio && ratio <= 1+t.up }

func toleranceOf(b *autoscalingv2.HorizontalPodAutoscalerBehavior) tolerance {
	out := tolerance{usualTolerance, usualTolerance}
	if b != nil && b.ScaleUp != nil && b.ScaleUp.Tolerance != nil {
		out.up = b.ScaleUp.Tolerance.AsApproximateFloat64()
	}
	if b != nil && b.ScaleDown != nil && b.ScaleDown.Tolerance != nil {
		out.down = b.ScaleDown.Tolerance.AsApproximateFloat64()
	}
	return out
}

// demand is how many pods there should be, and what was measured: the average in thousandths and, for goals in percent,
// what that is of the requests.
type demand struct {
	replicas int32
	average  int64
	percent  int32
}

// demanded computes the replicas that bring the average to its goal. Pods of which nothing is known count as whatever
// speaks against a change: as fully used when there would be fewer pods, as idle when there would be more.
// See https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details.
func demanded(current int32, g goal, pods []*corev1.Pod, samples map[string]sample, within tolerance, now time.Time) (demand, error) {
	if len(pods) == 0 {
		return demand{}, errors.New("no pods returned by selector while calculating replica count")
	}
	byState := sort(pods, samples, g.resource, now)
	known := map[string]int64{}
	for _, pod := range byState.counted {
		known[pod.Name] = samples[pod.Name].value
	}
	if len(known) == 0 {
		return demand{}, errUnready
	}
	m, err := newMeter(g, pods)
	if err != nil {
		return demand{}, err
	}
	ratio, out, err := m.read(known)
	if err != nil {
		return out, err
	}
	out.replicas = current
	grows := ratio > 1
	if len(byState.missing) == 0 && !(grows && len(byState.unready) > 0) {
		if !within.covers(ratio) {
			out.replicas = int32(math.Ceil(ratio * float64(len(known))))
		}
		return out, nil
	}
	m.guess(known, byState, ratio)
	careful, _, err := m.read(known)
	if err != nil || within.covers(careful) || grows != (careful > 1) {
		return out, err
	}
	// More pods take part now: their number alone must not turn the change around.
	if n := int32(math.Ceil(careful * float64(len(known)))); grows == (n > current) {
		out.replicas = n
	}
	return out, nil
}

// guess adds what speaks against the change that a ratio asks for.
func (m *meter) guess(known map[string]int64, pods sorted, ratio float64) {
	for _, pod := range pods.missing {
		switch {
		case ratio < 1:
			known[pod.Name] = m.full(pod.Name)
		case ratio > 1:
			known[pod.Name] = 0
		}
	}
	for _, pod := range pods.unready {
		if ratio > 1 {
			known[pod.Name] = 0
		}
	}
}

// sorted are pods by what is to be thought of their samples; those that end or have ended are in none of them.
type sorted struct{ counted, unready, missing []*corev1.Pod }

func sort(pods []*corev1.Pod, samples map[string]sample, resource corev1.ResourceName, now time.Time) (out sorted) {
	for _, pod := range pods {
		s, measured := samples[pod.Name]
		switch {
		case pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodFailed:
		case pod.Status.Phase == corev1.PodPending:
			out.unready = append(out.unready, pod)
		case !measured:
			out.missing = append(out.missing, pod)
		case resource == corev1.ResourceCPU && misleads(pod, s, now):
			out.unready = append(out.unready, pod)
		default:
			out.counted = append(out.counted, pod)
		}
	}
	return out
}

// misleads says that a sample tells of a pod's start more than of its work.
func misleads(pod *corev1.Pod, s sample, now time.Time) bool {
	ready := conditions.Pod(pod, corev1.PodReady)
	if ready == nil || pod.Status.StartTime == nil {
		return true
	}
	unready, since, start := ready.Status == corev1.ConditionFalse, ready.LastTransitionTime.Time, pod.Status.StartTime.Time
	if now.Before(start.Add(warmUp)) {
		return unready || s.at.Before(since.Add(s.window))
	}
	return unready && start.Add(firstReady).After(since)
}

// meter compares what pods use with a goal.
type meter struct {
	goal
	requests map[string]int64 // of goals in percent
}

func newMeter(g goal, pods []*corev1.Pod) (*meter, error) {
	m := &meter{goal: g, requests: map[string]int64{}}
	if g.percent == 0 {
		return m, nil
	}
	for _, pod := range pods {
		request, err := requestOf(pod, g.resource, g.container)
		if err != nil {
			return nil, err
		}
		m.requests[pod.Name] = request
	}
	return m, nil
}

// read returns how many times its goal the average use is.
func (m *meter) read(used map[string]int64) (ratio float64, out demand, err error) {
	var total, requested int64
	for name, value := range used {
		total += value
		requested += m.requests[name]
	}
	out.average = total / int64(len(used))
	if m.percent == 0 {
		return float64(out.average) / float64(m.amount), out, nil
	}
	if requested == 0 {
		return 0, out, errors.New("no metrics returned matched known pods")
	}
	out.percent = int32(total * 100 / requested)
	return float64(out.percent) / float64(m.percent), out, nil
}

// full is what a pod uses that is as busy as it should be, or more.
func (m *meter) full(pod string) int64 {
	if m.percent == 0 {
		return m.amount
	}
	return m.requests[pod] * int64(max(100, m.percent)) / 100
}

// requestOf is what a pod, or one of its containers, requests of a resource.
func requestOf(pod *corev1.Pod, resource corev1.ResourceName, container string) (int64, error) {
	if container == "" && resourcehelper.IsPodLevelRequestsSet(pod) {
		q, ok := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})[resource]
		if !ok {
			return 0, fmt.Errorf("missing pod-level request for %s in Pod %s", resource, pod.Name)
		}
		return q.MilliValue(), nil
	}
	var sum int64
	for _, c := range lasting(&pod.Spec) {
		if container != "" && c.Name != container {
			continue
		}
		q, ok := c.Resources.Requests[resource]
		if !ok {
			return 0, fmt.Errorf("missing request for %s in container %s of Pod %s", resource, c.Name, pod.Name)
		}
		sum += q.MilliValue()
	}
	return sum, nil
}

// lasting are the containers that run as long as the pod.
func lasting(spec *corev1.PodSpec) []corev1.Container {
	out := append([]corev1.Container(nil), spec.Containers...)
	for _, c := range spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, c)
		}
	}
	return out
}
