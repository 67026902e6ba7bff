package why

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"karve.dev/karve/internal/conditions"
)

// podCase is a pod with what is known about it.
type podCase struct {
	w     *World
	pod   *corev1.Pod
	owner Subject
}

// podRules are asked in this order; the first that has an answer is right, since what comes later follows from it.
var podRules = []func(c *podCase) []Finding{
	terminating,
	ended,
	unscheduled,
	nodeAway,
	unmounted,
	initContainers,
	containers,
	gates,
	debugging,
	unsettled,
}

// pod says what is wrong with a pod; nothing is when it says nothing.
func (w *World) pod(p *corev1.Pod) []Finding {
	c := &podCase{w: w, pod: p, owner: w.above(p)}
	for _, rule := range podRules {
		if found := rule(c); len(found) > 0 {
			return found
		}
	}
	return nil
}

func aboutPod(w *World, s Subject) ([]Finding, bool) {
	p := find(w.Pods, s)
	if p == nil {
		return nil, false
	}
	found := w.pod(p)
	if len(found) == 0 {
		found = []Finding{{Cause: "nothing is wrong: " + w.wellbeing(p), Schedule: &s}}
	}
	return found, true
}

// loosePods are those that nothing has made which is looked at itself.
func loosePods(w *World) []Subject {
	var out []Subject
	for i := range w.Pods {
		if p := &w.Pods[i]; w.above(p).Kind == "pod" {
			out = append(out, Subject{"pod", p.Namespace, p.Name})
		}
	}
	return out
}

func (w *World) wellbeing(p *corev1.Pod) string {
	if p.Status.Phase == corev1.PodSucceeded {
		return "it has done its work and ended"
	}
	out := "it runs on " + p.Spec.NodeName
	if c := conditions.Pod(p, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
		out += ", ready for " + w.since(c.LastTransitionTime)
	}
	return out
}

func (c *podCase) kubectl(format string, args ...any) string {
	return kubectl(c.pod.Namespace, format, args...)
}

// event returns the newest event of a reason, or an empty one.
func (c *podCase) event(reasons ...string) corev1.Event {
	if e := c.w.event(c.pod.UID, reasons...); e != nil {
		return *e
	}
	return corev1.Event{}
}

// ended is about pods that ended badly.
func ended(c *podCase) []Finding {
	p := c.pod
	if p.Status.Phase == corev1.PodSucceeded {
		return []Finding{{Severity: Note, Cause: "it has done its work and ended"}}
	}
	if p.Status.Phase != corev1.PodFailed {
		return nil
	}
	if p.Status.Reason == "" {
		return containers(c)
	}
	f := Finding{Severity: Broken, Cause: p.Status.Reason, Because: lines(p.Status.Message)}
	switch p.Status.Reason {
	case "Evicted":
		f.Cause = "Evicted from node " + p.Spec.NodeName
		f.Do = []string{"give the pod requests and limits that are nearer to what it needs, or make room on the node", c.kubectl("describe node %s", p.Spec.NodeName)}
	case "DeadlineExceeded":
		f.Cause = "DeadlineExceeded: it ran longer than its activeDeadlineSeconds"
		f.Do = []string{"raise activeDeadlineSeconds in the pod's spec"}
	case "Terminated", "NodeShutdown":
		f.Cause = "Terminated: its node went down"
	}
	if c.owner.Kind == "pod" {
		f.Do = append(f.Do, c.kubectl("delete pod %s", p.Name)+"   # nothing makes it anew: apply it again afterwards")
	}
	return []Finding{f}
}

// nodeAway is about pods whose node is not there or not well; whatever else is said of them is old.
func nodeAway(c *podCase) []Finding {
	node := c.w.node(c.pod.Spec.NodeName)
	if node == nil {
		return []Finding{{
			Severity: Down, Cause: fmt.Sprintf("its node %s is no longer part of the cluster", c.pod.Spec.NodeName),
			Do: []string{c.kubectl("delete pod %s --force --grace-period=0", c.pod.Name)},
		}}
	}
	cond := conditions.Node(node, corev1.NodeReady)
	if cond == nil || cond.Status == corev1.ConditionTrue {
		return nil
	}
	return []Finding{{
		Severity: Down, Cause: fmt.Sprintf("its node %s is not ready: %s", node.Name, cond.Message),
		Because: []string{fmt.Sprintf("since %s, and what the API says of the pod is from before", c.w.since(cond.LastTransitionTime))},
		Do:      []string{"karve why node/" + node.Name},
	}}
}

// gates is about conditions that somebody else has to set.
func gates(c *podCase) []Finding {
	var open []string
	for _, g := range c.pod.Spec.ReadinessGates {
		if cond := conditions.Pod(c.pod, g.ConditionType); cond == nil || cond.Status != corev1.ConditionTrue {
			open = append(open, string(g.ConditionType))
		}
	}
	if len(open) == 0 {
		return nil
	}
	return []Finding{{
		Severity: Unready, Cause: "its containers are ready, and its readiness gates are not: " + some(open),
		Because: []string{"a controller outside of the pod has to set these conditions in the pod's status"},
		Do:      []string{"see to the controller that does, or leave readinessGates out of the pod's spec"},
	}}
}

// unsettled is about pods that are not ready for no reason that was found.
func unsettled(c *podCase) []Finding {
	cond := conditions.Pod(c.pod, corev1.PodReady)
	if cond != nil && cond.Status == corev1.ConditionTrue {
		return restarts(c)
	}
	f := Finding{Severity: Unready, Cause: "it is being started"}
	if e := c.event("FailedCreatePodSandBox", "FailedKillPod", "FailedSync"); e.Message != "" {
		f.Severity, f.Cause = Broken, "its sandbox cannot be made: "+strings.TrimPrefix(e.Message, "Failed to create pod sandbox: ")
		f.Because = []string{fmt.Sprintf("event %s ago, %d times", duration.HumanDuration(c.w.Now.Sub(lastSeen(&e))), max(1, e.Count))}
		f.Do = c.sandboxRemedy(e.Message)
	} else if e := c.event("Pulling"); e.Message != "" && c.event("Pulled").Message == "" {
		f.Cause, f.Because = strings.ToLower(e.Message[:1])+e.Message[1:], []string{"for " + duration.HumanDuration(c.w.Now.Sub(lastSeen(&e)))}
	}
	return []Finding{f}
}

// sandboxRemedy is what helps when a sandbox cannot be made.
func (c *podCase) sandboxRemedy(message string) []string {
	if class := ptr(c.pod.Spec.RuntimeClassName); class != "" && strings.Contains(message, "no runtime for ") {
		return []string{
			"add that runtime to the engine of node " + c.pod.Spec.NodeName + " (/etc/docker/daemon.json, runtimes), and the pod starts by itself",
			c.edit("or name one that it has as the handler of RuntimeClass " + class + ", or leave out runtimeClassName"),
		}
	}
	return []string{"karve status", "docker ps -a | grep " + c.pod.Name}
}

// recent is how long a restart is worth mentioning.
const recent = 10 * time.Minute

// restarts is about pods that are well again.
func restarts(c *podCase) []Finding {
	for _, s := range c.pod.Status.ContainerStatuses {
		t := s.LastTerminationState.Terminated
		if s.RestartCount == 0 || t == nil || c.w.Now.Sub(t.FinishedAt.Time) > recent {
			continue
		}
		when := fmt.Sprintf("%s ago (%d times in all)", c.w.since(t.FinishedAt), s.RestartCount)
		return []Finding{{
			Severity: Note, Cause: fmt.Sprintf("it is ready; container %s was restarted %s: it %s", s.Name, when, c.ending(s.Name, t)),
			Do: []string{c.kubectl("logs %s -c %s --previous", c.pod.Name, s.Name)},
		}}
	}
	return nil
}

// lines are a message's as evidence; none when it is empty.
func lines(message string) []string {
	if message = strings.TrimSpace(message); message == "" {
		return nil
	}
	return strings.Split(message, "\n")
}

func ptr[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
