package podstate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

// ruleFor is the first restart rule of a container that its exit code meets, or nil.
func ruleFor(c *corev1.Container, code int32) *corev1.ContainerRestartRule {
	for i := range c.RestartPolicyRules {
		rule := &c.RestartPolicyRules[i]
		if rule.ExitCodes == nil {
			continue
		}
		in := slices.Contains(rule.ExitCodes.Values, code)
		if in == (rule.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			return rule
		}
	}
	return nil
}

// restartsTogether tells whether an exit of one of the pod's containers may restart all of them.
func restartsTogether(pod *corev1.Pod) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, rule := range list[i].RestartPolicyRules {
				if rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
					return true
				}
			}
		}
	}
	return false
}

// endsAll is the container that has ended in a way that restarts all of the pod's containers, or nil.
func endsAll(pod *corev1.Pod, o *Observed) *runtime.Container {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			latest := o.Latest(list[i].Name)
			if latest == nil || latest.State != runtime.Exited || o.Busy[list[i].Name].Verb == Start {
				continue
			}
			if rule := ruleFor(&list[i], latest.ExitCode); rule != nil && rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
				return latest
			}
		}
	}
	return nil
}

// restartAll takes all containers away when one has ended in a way that asks for it, so that the pod begins anew in its
// sandbox; true while that is under way. The one that asked goes last: an agent that is cut off finds the reason again.
func (p *planner) restartAll() bool {
	cause := endsAll(p.pod, p.obs)
	if cause == nil {
		return false
	}
	if at := cause.FinishedAt.Add(backOff(cause)); p.now.Before(at) {
		p.wake(at)
		return true
	}
	if p.abortStarts() || p.stopAll("Restarting all containers of the pod, as its restart rules ask for") {
		return true
	}
	others := false // somebody else may have removed the one that asked
	for name, all := range p.obs.Containers {
		for i := range all {
			if all[i].ID != cause.ID {
				p.remove(&all[i], name)
				others = others || !all[i].Removed
			}
		}
	}
	if !others {
		p.remove(cause, cause.Container)
	}
	return others || !cause.Removed
}

func (s *describer) restartingAll(st *corev1.PodStatus) condition {
	switch {
	case st.Phase == corev1.PodSucceeded:
		return condition{reason: "PodCompleted"}
	case st.Phase == corev1.PodFailed:
		return condition{reason: "PodFailed"}
	case s.pod.DeletionTimestamp == nil && endsAll(s.pod, s.obs) != nil:
		return condition{true, "RestartAllContainersStarted", "container exited with restart policy rule"}
	}
	return condition{}
}
