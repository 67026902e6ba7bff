// Package podstate decides what a pod needs next and how it looks from outside. It is pure: data in, data out, no
// clock, no calls. The worker feeds it with what it knows and carries out what it says.
package podstate

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

// Verb is a kind of action.
type Verb string

// What a worker can be told to do.
const (
	// MakeSandbox makes the sandbox of the given attempt.
	MakeSandbox Verb = "MakeSandbox"
	// Start makes and starts the container of the given attempt, in the current or coming sandbox.
	Start Verb = "Start"
	// Stop ends a running container, with its grace period.
	Stop Verb = "Stop"
	// Remove removes a container or sandbox that has ended, or that never ran.
	Remove Verb = "Remove"
	// Abort gives up a Start that is under way, before the container runs.
	Abort Verb = "Abort"
	// Resize gives a running container other amounts of cpu and memory.
	Resize Verb = "Resize"
)

// Action is one thing to do. Actions of one plan may be carried out in parallel.
type Action struct {
	Verb Verb
	// Name is the container's; runtime.SandboxName for the sandbox.
	Name string
	// ID is the container to stop or remove.
	ID      string
	Attempt int
	// NextDelay is how long to wait before the attempt after this one.
	NextDelay time.Duration
	// Grace is how long a container may take to stop.
	Grace time.Duration
	// Why is the event's text for people.
	Why string
}

// Plan is what to do now, and when to look again if nothing happens before.
type Plan struct {
	Actions []Action
	// Wake is when time alone changes the plan; zero for never.
	Wake time.Time
	// Done is true when nothing of a pod that must go is left.
	Done bool
}

// Op is an action that is under way.
type Op struct {
	Verb Verb
	// Deadline is when a container that is being stopped is killed.
	Deadline time.Time
}

// Trouble is why a container or sandbox cannot be made at present.
type Trouble struct {
	// Reason and Message are shown while the container waits.
	Reason, Message string
	// Image is the one that could not be had: the container's, or that of one of its volumes.
	Image string
	// Since is when it was found, RetryAt when to try again.
	Since, RetryAt time.Time
}

// Health is what probes say about a running container.
type Health struct {
	// ID is the container that was probed: an older one's health means nothing.
	ID      string
	Started bool
	Ready   bool
	// Failed is set when the container must be restarted: which probe failed.
	Failed string
}

// Observed is all that is known about a pod besides its specification.
type Observed struct {
	// Sandboxes and Containers hold what exists, oldest attempt first.
	Sandboxes  []runtime.Container
	Containers map[string][]runtime.Container
	// Busy holds the actions under way and Trouble those that failed: by container name, removals by container ID.
	Busy    map[string]Op
	Trouble map[string]Trouble
	Health  map[string]Health
	// Users are what containers' first processes were started as, by container ID.
	Users map[string]corev1.LinuxContainerUser
	// HookErrors say why postStart hooks failed, by container ID: such a container is killed.
	HookErrors map[string]string
	// Amounts are what running containers were resized to, by container ID.
	Amounts map[string]string
	// Held is set while the node has no room for what the pod was resized to.
	Held *Held
	// Wired is true when the current sandbox has its network.
	Wired bool
	// Gone is true when the pod is no longer in the API.
	Gone bool
	// Ending is set when the node itself ends the pod.
	Ending *Ending
	// Previous is the last known status: the memory of what has been removed from the engine.
	Previous corev1.PodStatus
	// RecursiveReadOnly is true when the node can make mounts read-only with everything below them.
	RecursiveReadOnly bool
	// HostIPs are the node's addresses.
	HostIPs []string
	// Address is the pod's, also before its sandbox runs.
	Address string
}

// Sandbox returns the newest sandbox, or nil.
func (o *Observed) Sandbox() *runtime.Container {
	if len(o.Sandboxes) == 0 {
		return nil
	}
	return &o.Sandboxes[len(o.Sandboxes)-1]
}

// Latest returns a container's newest attempt, or nil.
func (o *Observed) Latest(name string) *runtime.Container {
	all := o.Containers[name]
	if len(all) == 0 {
		return nil
	}
	return &all[len(all)-1]
}

func (o *Observed) anyRunning() bool {
	for name := range o.Containers {
		for _, c := range o.Containers[name] {
			if c.State == runtime.Running {
				return true
			}
		}
	}
	return false
}

// Started tells whether a container runs and has passed its startup probe and postStart hook.
func (o *Observed) started(c *corev1.Container) bool {
	latest := o.Latest(c.Name)
	if latest == nil || latest.State != runtime.Running || o.Busy[c.Name].Verb == Start {
		return false
	}
	if _, failed := o.HookErrors[latest.ID]; failed {
		return false
	}
	if c.StartupProbe == nil {
		return true
	}
	h := o.Health[c.Name]
	return h.ID == latest.ID && h.Started
}

// ready tells whether a container may get traffic. One that ends with its pod counts as ready as long as it is: those who
// send to it know that the pod terminates.
func (o *Observed) ready(pod *corev1.Pod, c *corev1.Container) bool {
	if !o.started(c) || o.Busy[c.Name].Verb == Stop && pod.DeletionTimestamp == nil {
		return false
	}
	if c.ReadinessProbe == nil {
		return true
	}
	h := o.Health[c.Name]
	return h.ID == o.Latest(c.Name).ID && h.Ready
}
