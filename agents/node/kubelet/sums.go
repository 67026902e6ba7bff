package kubelet

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/figures"
	"karve.dev/karve/agents/node/machine"
	"karve.dev/karve/agents/node/podstate"
)

// total adds up what a pod's containers have used, its sandbox among them. It has no group of its own on the engine.
func total(p *figures.Pod) figures.Container {
	var sum figures.Container
	add := func(c one) {
		sum.CPU, sum.User, sum.System = sum.CPU+c.CPU, sum.User+c.User, sum.System+c.System
		sum.Memory, sum.WorkingSet = sum.Memory+c.Memory, sum.WorkingSet+c.WorkingSet
		sum.RSS, sum.Cache, sum.Mapped, sum.Swap = sum.RSS+c.RSS, sum.Cache+c.Cache, sum.Mapped+c.Mapped, sum.Swap+c.Swap
		sum.MaxMemory, sum.Failures, sum.OOMKills = sum.MaxMemory+c.MaxMemory, sum.Failures+c.Failures, sum.OOMKills+c.OOMKills
		sum.Faults, sum.MajorFaults, sum.Processes = sum.Faults+c.Faults, sum.MajorFaults+c.MajorFaults, sum.Processes+c.Processes
		if c.At.After(sum.At) {
			sum.At = c.At
		}
	}
	for i := range p.Containers {
		add(&p.Containers[i])
	}
	if p.Sandbox != nil {
		add(p.Sandbox)
		sum.StartedAt = p.Sandbox.StartedAt
	}
	return sum
}

// whole is the machine as if it were a container.
func whole(f machine.Figures) figures.Container {
	var c figures.Container
	c.At, c.StartedAt, c.CPU = f.At, f.Boot, f.CPU
	c.Memory, c.WorkingSet = f.Memory-f.MemoryFree+f.Cache, f.Memory-f.MemoryFree
	c.RSS, c.Cache, c.Swap, c.Processes = f.RSS, f.Cache, f.Swap-f.SwapFree, f.Processes
	c.Faults, c.MajorFaults = f.Faults, f.BigFaults
	return c
}

// podGroup is the name that a pod's group would have, by which pods as a whole are told from their containers.
func podGroup(p *figures.Pod) string {
	uid := "/pod" + string(p.Spec.UID)
	if class := podstate.QOSClass(p.Spec); class != corev1.PodQOSGuaranteed {
		return "/kubepods/" + strings.ToLower(string(class)) + uid
	}
	return "/kubepods" + uid
}
