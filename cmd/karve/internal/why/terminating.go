package why

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"karve.dev/karve/internal/conditions"
)

// terminating is about pods that are being deleted.
func terminating(c *podCase) []Finding {
	p := c.pod
	if p.DeletionTimestamp == nil {
		return nil
	}
	asked := metav1.NewTime(p.DeletionTimestamp.Add(-time.Duration(ptr(p.DeletionGracePeriodSeconds)) * time.Second))
	f := Finding{Severity: Note, Because: []string{"deleted " + c.w.since(asked) + " ago"}}
	force := c.kubectl("delete pod %s --force --grace-period=0", p.Name)
	running := false
	for _, s := range p.Status.ContainerStatuses {
		running = running || s.State.Running != nil
	}
	node := c.w.node(p.Spec.NodeName)
	switch {
	case p.Spec.NodeName != "" && (node == nil || !conditions.NodeReady(node)):
		f.Severity, f.Cause = Stuck, "it is terminating, and its node "+p.Spec.NodeName+" is away: nobody can say that its containers have ended"
		f.Do = []string{"bring the node back, or, if it is gone for good:", force}
	case running && c.w.Now.Before(p.DeletionTimestamp.Time):
		left := duration.HumanDuration(p.DeletionTimestamp.Sub(c.w.Now))
		f.Cause = fmt.Sprintf("it is terminating: its containers still run and have %s of their %ds of grace left", left, ptr(p.DeletionGracePeriodSeconds))
		f.Because = append(f.Because, stopping(p)...)
		f.Do = []string{c.kubectl("delete pod %s --grace-period=1", p.Name) + "   # not to wait"}
	case running:
		f.Severity, f.Cause = Stuck, "it is terminating, and its containers run on beyond the grace period"
		if e := c.event("FailedKillPod", "FailedRemove", "FailedKillContainer"); e.Message != "" {
			f.Because = append(f.Because, e.Message)
		}
		f.Do = []string{"karve status", force}
	case len(p.Finalizers) > 0:
		f.Severity, f.Cause = Stuck, "it has ended and is kept by finalizers: "+some(p.Finalizers)
		f.Because = append(f.Because, "who has set them removes them when they are done; without that nothing does")
		f.Do = []string{c.kubectl(`patch pod %s -p '{"metadata":{"finalizers":null}}'`, p.Name) + "   # if what set them is gone"}
	default:
		f.Cause = "it is terminating: its volumes and its network are being taken down"
	}
	return []Finding{f}
}

// stopping says what a pod's containers may be doing when they are told to end.
func stopping(p *corev1.Pod) []string {
	for i := range p.Spec.Containers {
		if l := p.Spec.Containers[i].Lifecycle; l != nil && l.PreStop != nil {
			return []string{fmt.Sprintf("container %s has a preStop hook, which counts in that time", p.Spec.Containers[i].Name)}
		}
	}
	return []string{"they have been sent SIGTERM; a shell as process 1 does not pass it on"}
}
