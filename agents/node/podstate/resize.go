package podstate

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"karve.dev/karve/agents/node/runtime"
)

// Resizable are the resources that can be changed while a container runs.
var Resizable = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

// Held says why a resize is not begun: the node has no room for it.
type Held struct {
	// Reason is corev1.PodReasonDeferred or corev1.PodReasonInfeasible.
	Reason, Message string
	// Lack is what is missing in one word, such as "OutOfcpu".
	Lack string
}

// Amounts writes down what a container may use of the resizable resources: "cpu=100m,200m memory=,64Mi", each the request
// and the limit; nothing for a container that says nothing.
func Amounts(c *corev1.Container) string {
	if len(c.Resources.Requests) == 0 && len(c.Resources.Limits) == 0 {
		return ""
	}
	var parts []string
	for _, name := range Resizable {
		parts = append(parts, fmt.Sprintf("%s=%s,%s", name, amount(c.Resources.Requests, name), amount(c.Resources.Limits, name)))
	}
	return strings.Join(parts, " ")
}

func amount(list corev1.ResourceList, name corev1.ResourceName) string {
	if q, ok := list[name]; ok {
		return q.String()
	}
	return ""
}

// amountsOf reads what Amounts has written. What cannot be read counts as nothing.
func amountsOf(text string) (requests, limits map[corev1.ResourceName]string) {
	requests, limits = map[corev1.ResourceName]string{}, map[corev1.ResourceName]string{}
	for _, part := range strings.Fields(text) {
		name, values, _ := strings.Cut(part, "=")
		requests[corev1.ResourceName(name)], limits[corev1.ResourceName(name)], _ = strings.Cut(values, ",")
	}
	return requests, limits
}

// applied is what a container runs with; that of its specification when nobody has noted it.
func (o *Observed) applied(c *corev1.Container, running *runtime.Container) string {
	for _, noted := range []string{o.Amounts[running.ID], running.Amounts} {
		if noted != "" {
			return noted
		}
	}
	return Amounts(c)
}

// Resizes reports whether a running container of the pod has other amounts than its specification.
func Resizes(pod *corev1.Pod, o *Observed) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			c := &list[i]
			if latest := o.Latest(c.Name); latest != nil && latest.State == runtime.Running && o.applied(c, latest) != Amounts(c) {
				return true
			}
		}
	}
	return false
}

// resize gives a running container other amounts, or restarts it where it asks for that.
func (p *planner) resize(c *corev1.Container, latest *runtime.Container) {
	if _, busy := p.obs.Busy[c.Name]; busy || p.obs.Held != nil {
		return
	}
	if restartsOnResize(c, p.obs.applied(c, latest)) {
		p.stop(latest, p.grace(), fmt.Sprintf("Container %s resize requires restart", c.Name))
		return
	}
	if t, ok := p.obs.Trouble[ResizeKey(c.Name)]; ok && p.now.Before(t.RetryAt) {
		p.wake(t.RetryAt)
		return
	}
	p.do(Action{Verb: Resize, Name: c.Name, ID: latest.ID})
}

// ResizeKey is the key of a container's failed resize in Observed.Trouble.
func ResizeKey(container string) string { return "resize " + container }

func restartsOnResize(c *corev1.Container, applied string) bool {
	requests, limits := amountsOf(applied)
	for _, policy := range c.ResizePolicy {
		name := policy.ResourceName
		changed := requests[name] != amount(c.Resources.Requests, name) || limits[name] != amount(c.Resources.Limits, name)
		if changed && policy.RestartPolicy == corev1.RestartContainer {
			return true
		}
	}
	return false
}

// appliedResources are a container's resources as it runs with them.
func (o *Observed) appliedResources(c *corev1.Container, latest *runtime.Container) *corev1.ResourceRequirements {
	out := c.Resources.DeepCopy()
	applied := o.applied(c, latest)
	if applied == Amounts(c) {
		return out
	}
	requests, limits := amountsOf(applied)
	for _, name := range Resizable {
		out.Requests = with(out.Requests, name, requests[name])
		out.Limits = with(out.Limits, name, limits[name])
	}
	return out
}

func with(list corev1.ResourceList, name corev1.ResourceName, value string) corev1.ResourceList {
	q, err := resource.ParseQuantity(value)
	if err != nil {
		delete(list, name)
		return list
	}
	if list == nil {
		list = corev1.ResourceList{}
	}
	list[name] = q
	return list
}

// Granted is the pod with the resources that the node has granted it, which may be fewer than it asks for now.
func Granted(pod *corev1.Pod, o *Observed) *corev1.Pod {
	if o.Held == nil {
		return pod
	}
	return o.asItRuns(pod)
}

// asItRuns is the pod with the resources that its containers run with.
func (o *Observed) asItRuns(pod *corev1.Pod) *corev1.Pod {
	pod = pod.DeepCopy()
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if latest := o.Latest(list[i].Name); latest != nil {
				list[i].Resources = *o.appliedResources(&list[i], latest)
			}
		}
	}
	return pod
}

// podResources are what the pod as a whole has been granted.
func (s *describer) podResources(st *corev1.PodStatus) {
	options := resourcehelper.PodResourcesOptions{}
	requests := resourcehelper.PodRequests(Granted(s.pod, s.obs), options)
	has := s.pod
	if Resizes(s.pod, s.obs) {
		has = s.obs.asItRuns(s.pod)
	}
	limits := resourcehelper.PodLimits(has, options)
	if len(requests) > 0 || len(limits) > 0 {
		st.AllocatedResources = requests
		st.Resources = &corev1.ResourceRequirements{Requests: resourcehelper.PodRequests(has, options), Limits: limits}
	}
}

// resizing are the conditions of a pod whose containers do not yet have what it asks for.
func (s *describer) resizing() []corev1.PodCondition {
	if s.over || !Resizes(s.pod, s.obs) {
		return nil
	}
	if held := s.obs.Held; held != nil {
		return []corev1.PodCondition{s.condition(corev1.PodResizePending, condition{true, held.Reason, held.Message})}
	}
	progress := condition{status: true}
	for i := range s.pod.Spec.Containers {
		if t, ok := s.obs.Trouble[ResizeKey(s.pod.Spec.Containers[i].Name)]; ok {
			progress.reason, progress.message = corev1.PodReasonError, t.Message
		}
	}
	return []corev1.PodCondition{s.condition(corev1.PodResizeInProgress, progress)}
}
