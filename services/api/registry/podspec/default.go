// Package podspec defaults and validates pod specs. Every kind that embeds a pod template shares it, so that a
// container is treated alike wherever it is written.
package podspec

import (
	corev1 "k8s.io/api/core/v1"
)

// Default fills in what a template leaves out.
func Default(spec *corev1.PodSpec) {
	set(&spec.DNSPolicy, corev1.DNSClusterFirst)
	set(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	set(&spec.SchedulerName, corev1.DefaultSchedulerName)
	point(&spec.TerminationGracePeriodSeconds, int64(corev1.DefaultTerminationGracePeriodSeconds))
	if spec.SecurityContext == nil {
		spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	// The account has an old name too; both are always shown.
	set(&spec.ServiceAccountName, spec.DeprecatedServiceAccount)
	spec.DeprecatedServiceAccount = spec.ServiceAccountName
	for i := range spec.Volumes {
		defaultVolume(&spec.Volumes[i])
	}
	for i := range spec.InitContainers {
		defaultContainer(&spec.InitContainers[i])
	}
	for i := range spec.Containers {
		defaultContainer(&spec.Containers[i])
	}
	for i := range spec.EphemeralContainers {
		c := corev1.Container(spec.EphemeralContainers[i].EphemeralContainerCommon)
		defaultContainer(&c)
		spec.EphemeralContainers[i].EphemeralContainerCommon = corev1.EphemeralContainerCommon(c)
	}
	RoundResources(spec.Overhead)
	if spec.Resources != nil {
		RoundResources(spec.Resources.Limits)
		RoundResources(spec.Resources.Requests)
	}
}

// DefaultPod does what Default does, and what is only done for a pod itself and not for a template, so that a
// template keeps the form in which it was written.
func DefaultPod(spec *corev1.PodSpec) {
	Default(spec)
	point(&spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	for i := range spec.InitContainers {
		requestsFromLimits(&spec.InitContainers[i].Resources)
	}
	for i := range spec.Containers {
		requestsFromLimits(&spec.Containers[i].Resources)
	}
	defaultPodRequests(spec)
	if spec.HostNetwork {
		defaultHostPorts(spec.InitContainers)
		defaultHostPorts(spec.Containers)
	}
}

// requestsFromLimits: who limits a resource and asks for no amount of it asks for the limit.
func requestsFromLimits(r *corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if _, ok := r.Requests[name]; ok {
			continue
		}
		if r.Requests == nil {
			r.Requests = corev1.ResourceList{}
		}
		r.Requests[name] = limit.DeepCopy()
	}
}

// defaultPodRequests sets the pod-level requests: the sum of what its containers ask, when all of them do, else the
// pod-level limit.
func defaultPodRequests(spec *corev1.PodSpec) {
	if spec.Resources == nil || len(spec.Resources.Limits) == 0 {
		return
	}
	sums := aggregateRequests(spec)
	for name, limit := range spec.Resources.Limits {
		if _, ok := spec.Resources.Requests[name]; ok {
			continue
		}
		if spec.Resources.Requests == nil {
			spec.Resources.Requests = corev1.ResourceList{}
		}
		if sum, ok := sums[name]; ok {
			spec.Resources.Requests[name] = sum
		} else {
			spec.Resources.Requests[name] = limit.DeepCopy()
		}
	}
}

// aggregateRequests adds up the requests of containers and, where they are larger, of the init containers.
func aggregateRequests(spec *corev1.PodSpec) corev1.ResourceList {
	sums := corev1.ResourceList{}
	for i := range spec.Containers {
		addResources(sums, spec.Containers[i].Resources.Requests)
	}
	sidecars := corev1.ResourceList{}
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		need := c.Resources.Requests
		if IsSidecar(c) {
			addResources(sums, need)
			addResources(sidecars, need)
			continue
		}
		for name, q := range need {
			q = q.DeepCopy()
			if s, ok := sidecars[name]; ok {
				q.Add(s)
			}
			if have, ok := sums[name]; !ok || q.Cmp(have) > 0 {
				sums[name] = q
			}
		}
	}
	return sums
}

func addResources(sums, more corev1.ResourceList) {
	for name, q := range more {
		sum := sums[name]
		sum.Add(q)
		sums[name] = sum
	}
}

// IsSidecar says whether an init container keeps running beside the containers.
func IsSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// defaultHostPorts: in the host's network a container's port is the host's.
func defaultHostPorts(containers []corev1.Container) {
	for i := range containers {
		for j := range containers[i].Ports {
			set(&containers[i].Ports[j].HostPort, containers[i].Ports[j].ContainerPort)
		}
	}
}

// RoundResources rounds amounts up to a thousandth, the smallest that is stored.
func RoundResources(list corev1.ResourceList) {
	for name, q := range list {
		const milli = -3
		before := q.DeepCopy()
		if !q.RoundUp(milli) || before.Cmp(q) != 0 {
			list[name] = q
		}
	}
}

// set gives a field that is zero a value.
func set[T comparable](p *T, value T) {
	if *p == *new(T) {
		*p = value
	}
}

// point gives a pointer that is nil a value.
func point[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}
