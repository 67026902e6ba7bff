package podstate

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

// planner collects a plan.
type planner struct {
	pod *corev1.Pod
	obs *Observed
	now time.Time
	// fresh is true when a new sandbox comes: no container of an earlier one counts any more.
	fresh bool
	Plan
}

// Next decides what a pod needs now.
func Next(pod *corev1.Pod, obs *Observed, now time.Time) Plan {
	p := &planner{pod: pod, obs: obs, now: now}
	deadline, limited := activeDeadline(pod, obs)
	switch {
	case obs.Gone || pod.DeletionTimestamp != nil:
		p.takeDown()
	case obs.Ending != nil, limited && !now.Before(deadline), Finished(pod, obs):
		p.windDown()
	default:
		if limited {
			p.wake(deadline)
		}
		p.run()
	}
	return p.Plan
}

// activeDeadline is when the pod is to end at the latest.
func activeDeadline(pod *corev1.Pod, obs *Observed) (time.Time, bool) {
	start := obs.Previous.StartTime
	if pod.Spec.ActiveDeadlineSeconds == nil || start == nil {
		return time.Time{}, false
	}
	return start.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second), true
}

func (p *planner) do(a Action) { p.Actions = append(p.Actions, a) }

func (p *planner) wake(at time.Time) {
	if p.Wake.IsZero() || at.Before(p.Wake) {
		p.Wake = at
	}
}

// run keeps a pod going: a sandbox, then init containers one by one, then the others.
func (p *planner) run() {
	if !p.ensureSandbox() {
		return
	}
	p.tidy()
	if p.restartAll() {
		return
	}
	for i := range p.pod.Spec.EphemeralContainers {
		c := (*corev1.Container)(&p.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		if p.obs.Latest(c.Name) == nil {
			p.start(c, 0, 0)
		}
	}
	if !p.initialize() {
		return
	}
	for i := range p.pod.Spec.Containers {
		p.keep(&p.pod.Spec.Containers[i], false)
	}
}

// ensureSandbox makes sure that there is, or comes, a sandbox. While one is being made containers may be prepared:
// they wait for it before they start.
func (p *planner) ensureSandbox() bool {
	current := p.obs.Sandbox()
	busy, isBusy := p.obs.Busy[runtime.SandboxName]
	if isBusy && busy.Verb == MakeSandbox {
		p.fresh = true
		return true
	}
	if current != nil && current.State == runtime.Running && (p.obs.Wired || p.pod.Spec.HostNetwork) {
		return p.leaveOldSandboxes(current.ID)
	}
	if p.stopAll("Pod sandbox changed, it will be killed and re-created.") || isBusy {
		return false
	}
	if t, ok := p.obs.Trouble[runtime.SandboxName]; ok && p.now.Before(t.RetryAt) {
		p.wake(t.RetryAt)
		return false
	}
	attempt := 0
	if current != nil {
		attempt = current.Attempt + 1
	}
	p.do(Action{Verb: MakeSandbox, Name: runtime.SandboxName, Attempt: attempt})
	p.fresh = true
	return true
}

// leaveOldSandboxes stops containers that live in an earlier sandbox; true when there are none.
func (p *planner) leaveOldSandboxes(current string) bool {
	left := true
	for name := range p.obs.Containers {
		for i := range p.obs.Containers[name] {
			c := &p.obs.Containers[name][i]
			if c.State == runtime.Running && c.Sandbox != current {
				p.stop(c, p.grace(), "Pod sandbox changed, it will be killed and re-created.")
				left = false
			}
		}
	}
	for i := range p.obs.Sandboxes[:len(p.obs.Sandboxes)-1] {
		p.remove(&p.obs.Sandboxes[i], runtime.SandboxName)
	}
	return left
}

// initialize brings init containers forward; true when all are through.
func (p *planner) initialize() bool {
	past := p.pastInit()
	for i := range p.pod.Spec.InitContainers {
		c := &p.pod.Spec.InitContainers[i]
		latest := p.obs.Latest(c.Name)
		switch {
		case isSidecar(c):
			p.keep(c, true)
			if !past && !p.obs.started(c) {
				return false
			}
		case past, p.inSandbox(latest) && latest.State == runtime.Exited && latest.ExitCode == 0:
		default:
			p.keep(c, true)
			return false
		}
	}
	return true
}

// inSandbox tells whether a container belongs to the current sandbox.
func (p *planner) inSandbox(c *runtime.Container) bool {
	s := p.obs.Sandbox()
	return !p.fresh && c != nil && s != nil && c.Sandbox == s.ID
}

// pastInit tells whether a main container of this sandbox exists already: then init containers have ended well, even
// if nothing is left of them.
func (p *planner) pastInit() bool {
	for i := range p.pod.Spec.Containers {
		if p.inSandbox(p.obs.Latest(p.pod.Spec.Containers[i].Name)) {
			return true
		}
	}
	return false
}

// keep starts a container when it should run and does not, and stops it when it must be replaced.
func (p *planner) keep(c *corev1.Container, init bool) {
	latest := p.obs.Latest(c.Name)
	if latest != nil && latest.State == runtime.Running {
		p.supervise(c, latest)
		return
	}
	if _, busy := p.obs.Busy[c.Name]; busy {
		return
	}
	if t, ok := p.obs.Trouble[c.Name]; ok && p.now.Before(t.RetryAt) {
		p.wake(t.RetryAt)
		return
	}
	switch {
	case latest == nil:
		attempt := nextAttempt(p.obs, c.Name)
		next := time.Duration(0)
		if attempt > 0 {
			next = firstDelay
		}
		p.start(c, attempt, next)
	case latest.State == runtime.Created:
		// Cut off between creation and start: it never ran, so the attempt is made again.
		p.start(c, latest.Attempt, latest.NextDelay)
	case restarts(p.pod, c, init, latest.ExitCode) || init && !p.inSandbox(latest):
		wait := delay(c, latest)
		if at := latest.FinishedAt.Add(wait); p.now.Before(at) {
			p.wake(at)
			p.wakeForFault(latest)
			return
		}
		p.start(c, latest.Attempt+1, following(wait))
	}
}

// wakeForFault makes that what is shown of a container that could not be started is up to date.
func (p *planner) wakeForFault(latest *runtime.Container) {
	if reason, _ := p.obs.fault(latest); reason != "" {
		if at := latest.FinishedAt.Add(showFault); p.now.Before(at) {
			p.wake(at)
		}
	}
}

// supervise stops a running container that must not go on as it is.
func (p *planner) supervise(c *corev1.Container, latest *runtime.Container) {
	h := p.obs.Health[c.Name]
	switch {
	case h.ID == latest.ID && h.Failed != "":
		grace := p.grace()
		if probe := c.LivenessProbe; probe != nil && probe.TerminationGracePeriodSeconds != nil {
			grace = time.Duration(*probe.TerminationGracePeriodSeconds) * time.Second
		}
		p.stop(latest, grace, fmt.Sprintf("Container %s failed %s probe, will be restarted", c.Name, h.Failed))
	case changed(c, latest):
		p.stop(latest, p.grace(), fmt.Sprintf("Container %s definition changed, will be restarted", c.Name))
	case p.obs.applied(c, latest) != Amounts(c):
		p.resize(c, latest)
	}
}

func (p *planner) start(c *corev1.Container, attempt int, next time.Duration) {
	if _, busy := p.obs.Busy[c.Name]; busy {
		return
	}
	if t, ok := p.obs.Trouble[c.Name]; ok && p.now.Before(t.RetryAt) {
		p.wake(t.RetryAt)
		return
	}
	p.do(Action{Verb: Start, Name: c.Name, Attempt: attempt, NextDelay: next})
}

// tidy removes all but a container's last two attempts: what runs, and what `logs --previous` reads. Of several that
// run under one name, which only somebody else can bring about, the newest stays.
func (p *planner) tidy() {
	for name, all := range p.obs.Containers {
		for i := range all {
			old := &all[i]
			switch {
			case i == len(all)-1:
			case old.State == runtime.Running:
				p.stop(old, p.grace(), fmt.Sprintf("Stopping container %s, which has been replaced", name))
			case i < len(all)-2 || old.State == runtime.Created:
				p.remove(old, name)
			}
		}
	}
}
