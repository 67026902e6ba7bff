package autoscaler

import (
	"context"
	"errors"
	"fmt"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"karve.dev/karve/internal/client"
)

// measure asks all metrics how many replicas there should be, and takes the most. While some of them cannot be had, the
// others may ask for more, never for fewer.
func (t *turn) measure(ctx context.Context, scale *autoscalingv1.Scale) (wanted int32, metric string, measured []autoscalingv2.MetricStatus, err error) {
	pods, selector, err := t.targets(scale.Status.Selector)
	if err != nil {
		return 0, "", nil, err
	}
	figures, unmeasured := t.client.PodMetrics(ctx, client.ListOptions{Namespace: t.key.Namespace, LabelSelector: selector.String()})
	if unmeasured == nil && len(figures.Items) == 0 {
		unmeasured = errNoFigures
	}
	var failure error
	var broken verdict
	failed := 0
	measured = make([]autoscalingv2.MetricStatus, len(t.scaler.Spec.Metrics))
	for i, spec := range t.scaler.Spec.Metrics {
		m := metricOf(spec)
		asked, err := t.ask(m, scale.Spec.Replicas, pods, figures.Items, unmeasured)
		if err != nil {
			t.warn(m.trouble, err)
			if failed++; failure == nil {
				failure, broken = fmt.Errorf("%s: %w", m.failure, err), verdict{m.trouble, fmt.Sprintf("the HPA was unable to compute the replica count: %v", err)}
			}
			continue
		}
		m.describe(asked, &measured[i])
		if metric == "" || asked.replicas > wanted {
			wanted, metric = asked.replicas, m.name
		}
	}
	if failed == len(measured) || failed > 0 && wanted < scale.Spec.Replicas {
		t.condition(autoscalingv2.ScalingActive, false, broken)
		return 0, "", measured, fmt.Errorf("invalid metrics (%d invalid out of %d), first error is: %w", failed, len(measured), failure)
	}
	t.condition(autoscalingv2.ScalingActive, true, verdict{"ValidMetricFound", "the HPA was able to successfully calculate a replica count from " + metric})
	return wanted, metric, measured, nil
}

// targets are the pods that a selector chooses. They must be this autoscaler's alone: two would undo each other's work.
func (t *turn) targets(text string) ([]*corev1.Pod, labels.Selector, error) {
	refuse := func(event, reason, message, condition string) ([]*corev1.Pod, labels.Selector, error) {
		t.events.Event(t.scaler, corev1.EventTypeWarning, event, "%s", message)
		t.condition(autoscalingv2.ScalingActive, false, verdict{reason, condition})
		return nil, nil, errors.New(message)
	}
	if text == "" {
		return refuse("SelectorRequired", "InvalidSelector", "selector is required", "the HPA target's scale is missing a selector")
	}
	selector, err := labels.Parse(text)
	if err != nil {
		message := fmt.Sprintf("couldn't convert selector into a corresponding internal selector object: %v", err)
		return refuse("InvalidSelector", "InvalidSelector", message, message)
	}
	pods := t.pods.List(t.key.Namespace, selector)
	if rivals := t.rivals(selector, pods); len(rivals) > 1 {
		message := fmt.Sprintf("pods by selector %s are controlled by more than one HPA (e.g. [%s])", text, strings.Join(rivals, " "))
		return refuse("AmbiguousSelector", "AmbiguousSelector", message, message)
	}
	return pods, selector, nil
}

// rivals names the autoscalers of pods, this one included, and remembers its selector.
func (t *turn) rivals(selector labels.Selector, pods []*corev1.Pod) (names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state.selector = selector
	for key, s := range t.states {
		if key.Namespace == t.key.Namespace && s.selector != nil && anyMatches(s.selector, pods) {
			names = append(names, key.Namespace+"/"+key.Name)
		}
	}
	return names
}

func anyMatches(selector labels.Selector, pods []*corev1.Pod) bool {
	for _, pod := range pods {
		if selector.Matches(labels.Set(pod.Labels)) {
			return true
		}
	}
	return false
}

// metric is one of an autoscaler's metrics, in the words of conditions and events.
type metric struct {
	spec                   autoscalingv2.MetricSpec
	goal                   goal
	name, trouble, failure string
	err                    error // why it cannot be had at all
}

func metricOf(spec autoscalingv2.MetricSpec) metric {
	m := metric{spec: spec}
	switch {
	case spec.Type == autoscalingv2.ResourceMetricSourceType && spec.Resource != nil:
		m.goal = goalOf(spec.Resource.Name, "", spec.Resource.Target)
		m.name, m.trouble = "resource", "FailedGetResourceMetric"
		m.failure = fmt.Sprintf("failed to get %s resource metric value", spec.Resource.Name)
	case spec.Type == autoscalingv2.ContainerResourceMetricSourceType && spec.ContainerResource != nil:
		c := spec.ContainerResource
		m.goal = goalOf(c.Name, c.Container, c.Target)
		m.name, m.trouble = "container resource", "FailedGetContainerResourceMetric"
		m.failure = fmt.Sprintf("failed to get %s container metric value", c.Container)
	default:
		m.trouble, m.failure = fmt.Sprintf("FailedGet%sMetric", spec.Type), fmt.Sprintf("failed to get %s metric value", strings.ToLower(string(spec.Type)))
		m.err = fmt.Errorf("metrics of the type %s come from an adapter, which this cluster does not ask yet: use Resource or ContainerResource", spec.Type)
		return m
	}
	m.name = string(m.goal.resource) + " " + m.name
	if m.goal.percent > 0 {
		m.name += " utilization (percentage of request)"
	}
	return m
}

func goalOf(name corev1.ResourceName, container string, target autoscalingv2.MetricTarget) goal {
	g := goal{resource: name, container: container}
	switch {
	case target.AverageValue != nil:
		g.amount = target.AverageValue.MilliValue()
	case target.AverageUtilization != nil:
		g.percent = *target.AverageUtilization
	}
	return g
}

// ask computes what a metric demands. unmeasured says why there are no figures.
func (t *turn) ask(m metric, current int32, pods []*corev1.Pod, figures []metricsv1beta1.PodMetrics, unmeasured error) (demand, error) {
	if m.err != nil {
		return demand{}, m.err
	}
	what := "usage"
	if m.goal.percent > 0 {
		what = "utilization"
	}
	if unmeasured != nil {
		return demand{}, fmt.Errorf("failed to get %s %s: unable to get metrics for resource %s: %w", m.goal.resource, what, m.goal.resource, unmeasured)
	}
	out, err := demanded(current, m.goal, pods, samples(figures, m.goal), toleranceOf(t.scaler.Spec.Behavior), t.now)
	if err != nil {
		return out, fmt.Errorf("failed to get %s %s: %w", m.goal.resource, what, err)
	}
	return out, nil
}

// samples are what pods use of a goal's resource. A pod of which a part is unknown has none.
func samples(figures []metricsv1beta1.PodMetrics, g goal) map[string]sample {
	out := map[string]sample{}
	for _, f := range figures {
		s, known := sample{at: f.Timestamp.Time, window: f.Window.Duration}, false
		for _, c := range f.Containers {
			if g.container != "" && c.Name != g.container {
				continue
			}
			q, ok := c.Usage[g.resource]
			s.value += q.MilliValue()
			if known = ok; !ok {
				break
			}
		}
		if known {
			out[f.Name] = s
		}
	}
	return out
}

// describe writes down what was measured.
func (m metric) describe(d demand, into *autoscalingv2.MetricStatus) {
	format := resource.DecimalSI
	if m.goal.resource == corev1.ResourceMemory {
		format = resource.BinarySI
	}
	value := autoscalingv2.MetricValueStatus{AverageValue: resource.NewMilliQuantity(d.average, format)}
	if m.goal.percent > 0 {
		value.AverageUtilization = &d.percent
	}
	into.Type = m.spec.Type
	if m.goal.container != "" {
		into.ContainerResource = &autoscalingv2.ContainerResourceMetricStatus{Name: m.goal.resource, Container: m.goal.container, Current: value}
		return
	}
	into.Resource = &autoscalingv2.ResourceMetricStatus{Name: m.goal.resource, Current: value}
}
