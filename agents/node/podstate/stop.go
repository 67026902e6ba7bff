package podstate

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

// defaultGrace is how long a container may take to stop when nobody says.
const defaultGrace = 30 * time.Second

// grace is how long the pod's containers may take to stop.
func (p *planner) grace() time.Duration {
	if p.obs.Ending != nil && p.pod.DeletionTimestamp == nil {
		return p.obs.Ending.Grace
	}
	seconds := p.pod.DeletionGracePeriodSeconds
	if p.pod.DeletionTimestamp == nil || seconds == nil {
		seconds = p.pod.Spec.TerminationGracePeriodSeconds
	}
	if seconds == nil {
		return defaultGrace
	}
	return time.Duration(*seconds) * time.Second
}

// takeDown ends a pod that must go: first its containers, then its sidecars, then everything that is left of it.
func (p *planner) takeDown() {
	waiting := p.abortStarts()
	if p.stopAll("") || waiting {
		return
	}
	for name, all := range p.obs.Containers {
		for i := range all {
			p.remove(&all[i], name)
		}
	}
	for i := range p.obs.Sandboxes {
		p.remove(&p.obs.Sandboxes[i], runtime.SandboxName)
	}
	p.Done = len(p.obs.Sandboxes) == 0 && len(p.obs.Busy) == 0 && p.nothingLeft()
}

func (p *planner) nothingLeft() bool {
	for _, all := range p.obs.Containers {
		for i := range all {
			if !all[i].Removed {
				return false
			}
		}
	}
	return true
}

// abortStarts gives up what is being started; true when something is still under way.
func (p *planner) abortStarts() bool {
	waiting := false
	for name, op := range p.obs.Busy {
		if op.Verb == Start || op.Verb == MakeSandbox {
			waiting = true
			p.do(Action{Verb: Abort, Name: name})
		}
	}
	return waiting
}

// windDown ends what is left of a pod that has finished: sidecars and the sandbox. Ended containers stay, for their
// logs, until the pod is deleted.
func (p *planner) windDown() {
	waiting := p.abortStarts()
	if p.stopAll("") || waiting {
		return
	}
	p.tidy()
	for i := range p.obs.Sandboxes {
		p.remove(&p.obs.Sandboxes[i], runtime.SandboxName)
	}
}

// stopAll stops every running container: main containers together, then sidecars one by one in reverse order. True
// when one still runs.
func (p *planner) stopAll(why string) bool {
	if !p.obs.anyRunning() {
		return false
	}
	sidecars := map[string]bool{}
	for i := range p.pod.Spec.InitContainers {
		if c := &p.pod.Spec.InitContainers[i]; isSidecar(c) {
			sidecars[c.Name] = true
		}
	}
	waiting := false
	for name := range p.obs.Containers {
		if !sidecars[name] {
			waiting = p.stopNamed(name, why) || waiting
		}
	}
	for i := len(p.pod.Spec.InitContainers) - 1; i >= 0 && !waiting; i-- {
		if name := p.pod.Spec.InitContainers[i].Name; sidecars[name] {
			waiting = p.stopNamed(name, why)
		}
	}
	return true
}

func (p *planner) stopNamed(name, why string) bool {
	waiting := false
	for i := range p.obs.Containers[name] {
		if c := &p.obs.Containers[name][i]; c.State == runtime.Running {
			p.stop(c, p.grace(), why)
			waiting = true
		}
	}
	return waiting
}

// stop ends a container, unless it is being stopped already and no later than it would now be.
func (p *planner) stop(c *runtime.Container, grace time.Duration, why string) {
	if op, busy := p.obs.Busy[c.Container]; busy && (op.Verb != Stop || !p.now.Add(grace).Before(op.Deadline)) {
		return
	}
	if why == "" {
		why = "Stopping container " + c.Container
	}
	p.do(Action{Verb: Stop, Name: c.Container, ID: c.ID, Grace: grace, Why: why})
}

// remove takes a container away. Removals are kept by ID, not by name: they do not hold up the name's next attempt.
func (p *planner) remove(c *runtime.Container, name string) {
	if _, busy := p.obs.Busy[c.ID]; busy || c.Removed {
		return
	}
	if t, ok := p.obs.Trouble[c.ID]; ok && p.now.Before(t.RetryAt) {
		p.wake(t.RetryAt)
		return
	}
	p.do(Action{Verb: Remove, Name: name, ID: c.ID, Attempt: c.Attempt})
}

// Finished tells whether a pod's containers have all ended for good.
func Finished(pod *corev1.Pod, obs *Observed) bool {
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if latest := obs.Latest(c.Name); !isSidecar(c) && ended(pod, obs, c, true) && latest.ExitCode != 0 {
			return true
		}
	}
	if terminalPhase(obs.Previous.Phase) && !obs.anyRunning() {
		return true
	}
	for i := range pod.Spec.Containers {
		if !ended(pod, obs, &pod.Spec.Containers[i], false) {
			return false
		}
	}
	return true
}

func terminalPhase(p corev1.PodPhase) bool { return p == corev1.PodSucceeded || p == corev1.PodFailed }

func ended(pod *corev1.Pod, obs *Observed, c *corev1.Container, init bool) bool {
	latest := obs.Latest(c.Name)
	return latest != nil && latest.State == runtime.Exited && !restarts(pod, c, init, latest.ExitCode)
}
