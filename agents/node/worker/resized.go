package worker

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/podstate"
	"karve.dev/karve/agents/node/runtime"
)

// tooSmall refuses a bound that the container exceeds already: the kernel would end it.
func tooSmall(running *runtime.Container, limit int64) error {
	if limit == 0 || running.PID == 0 {
		return nil
	}
	group, err := groupOf(running.PID)
	if err != nil {
		return fmt.Errorf("find out what container %s uses: %w", running.Container, err)
	}
	if usage, err := group.Usage(); err == nil && usage.WorkingSet > limit {
		return fmt.Errorf("cannot decrease memory limits: attempting to set container %q memory limit (%d) below current usage (%d)", running.Container, limit, usage.WorkingSet)
	}
	return nil
}

// tellResize says once of each resize that it has begun, and that it is done. Only the loop calls it.
func (w *worker) tellResize(pod *corev1.Pod, resizes bool, held *podstate.Held) {
	switch {
	case pod.DeletionTimestamp != nil:
		w.resizing = nil
	case !resizes && w.resizing != nil:
		w.resizing = nil
		w.event("", corev1.EventTypeNormal, "ResizeCompleted", "%s", resizeMessage("completed", pod, ""))
	case resizes && held == nil && (w.resizing == nil || *w.resizing != pod.Generation):
		w.resizing = new(pod.Generation)
		w.event("", corev1.EventTypeNormal, "ResizeStarted", "%s", resizeMessage("started", pod, ""))
	}
}

// resizeMessage tells of a resize in the form in which clients expect it: what each container is to have, and since which
// generation of the pod.
func resizeMessage(what string, pod *corev1.Pod, fault string) string {
	type grant struct {
		Name      string                      `json:"name"`
		Resources corev1.ResourceRequirements `json:"resources"`
	}
	var detail struct {
		InitContainers []grant `json:"initContainers,omitempty"`
		Containers     []grant `json:"containers,omitempty"`
		Generation     int64   `json:"generation"`
		Error          string  `json:"error,omitempty"`
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			detail.InitContainers = append(detail.InitContainers, grant{c.Name, c.Resources})
		}
	}
	for i := range pod.Spec.Containers {
		detail.Containers = append(detail.Containers, grant{pod.Spec.Containers[i].Name, pod.Spec.Containers[i].Resources})
	}
	detail.Generation, detail.Error = pod.Generation, fault
	text, err := json.Marshal(&detail)
	if err != nil {
		return "Pod resize " + what // resources always encode
	}
	return "Pod resize " + what + ": " + string(text)
}
