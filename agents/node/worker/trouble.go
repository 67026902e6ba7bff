package worker

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/image"
	"karve.dev/karve/agents/node/podstate"
)

// Reasons of troubles, as kubectl shows them.
const (
	configError    = "CreateContainerConfigError"
	createError    = "CreateContainerError"
	volumesMissing = "ContainerCreating"
	sandboxError   = "FailedCreatePodSandBox"
	removeError    = "FailedRemove"
)

// imageTrouble may end when the engine's images change, configTrouble when a ConfigMap or Secret does, engineTrouble when
// the engine is well again.
var (
	engineTrouble = map[string]bool{createError: true, sandboxError: true, removeError: true, image.ImageInspectError: true}

	imageTrouble = map[string]bool{
		image.ErrImagePull: true, image.ImagePullBackOff: true, image.ErrImageNeverPull: true,
	}
	configTrouble = map[string]bool{configError: true, volumesMissing: true}
)

// showPullError is how long ErrImagePull is shown before it turns into ImagePullBackOff.
const showPullError = time.Second

// pullDelay doubles from 10 s to 5 min, as on a kubelet.
func pullDelay(failures int) time.Duration {
	return min(10*time.Second<<min(failures-1, 5), 5*time.Minute)
}

// retryDelay doubles from half a second to 30 s, for what lies in the node and not in the pod.
func retryDelay(failures int) time.Duration {
	return min(250*time.Millisecond<<min(failures, 7), 30*time.Second)
}

// fail notes why an action failed and when to try again. mu must not be held.
func (w *worker) fail(key, reason, message string, delay func(failures int) time.Duration) {
	w.failWith(key, podstate.Trouble{Reason: reason, Message: message}, delay)
}

func (w *worker) failWith(key string, t podstate.Trouble, delay func(failures int) time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	put(&w.failures, key, w.failures[key]+1)
	t.Since = time.Now()
	t.RetryAt = t.Since.Add(delay(w.failures[key]))
	put(&w.obs.Trouble, key, t)
}

// fine forgets earlier failures. mu must be held.
func (w *worker) fine(key string) {
	delete(w.failures, key)
	delete(w.obs.Trouble, key)
}

// forgetOtherImages forgets what was wrong with images that the pod does not name any more: who corrects one waits for
// nothing. mu must be held.
func (w *worker) forgetOtherImages() {
	for name, t := range w.obs.Trouble {
		if t.Image != "" && !namesImage(w.pod, name, t.Image) {
			w.fine(name)
		}
	}
}

// namesImage tells whether an image is a container's own or a volume's.
func namesImage(pod *corev1.Pod, container, image string) bool {
	c := findContainer(pod, container)
	return c != nil && c.Image == image || slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.Image != nil && v.Image.Reference == image
	})
}

// Recovered tells that the engine is well again: what it has failed at is tried at once.
func (p *Pool) Recovered() { p.each(func(w *worker) { w.retry(engineTrouble) }) }

// explain adds to why a pod cannot start what its user would not guess: an agent that starts while the control plane is
// away knows no Secret that is not in the machine's memory.
func (p *Pool) explain(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.synced {
		return err
	}
	return fmt.Errorf("%w (the node's agent has not reached the API since it started; Secrets are kept in memory only)", err)
}

// softenPullErrors turns a pull error that has been shown for a moment into a back-off. mu must be held.
func (w *worker) softenPullErrors(now time.Time) {
	for name, t := range w.obs.Trouble {
		if t.Reason != image.ErrImagePull || now.Before(t.Since.Add(showPullError)) {
			continue
		}
		if findContainer(w.pod, name) == nil {
			delete(w.obs.Trouble, name)
			continue
		}
		t.Message = fmt.Sprintf("Back-off pulling image %q: %s: %s", t.Image, image.ErrImagePull, t.Message)
		t.Reason = image.ImagePullBackOff
		w.obs.Trouble[name] = t
		ref := w.ref(name)
		w.pool.cfg.Events.EventOn(ref, corev1.EventTypeNormal, "BackOff", "Back-off pulling image %q", t.Image)
		w.pool.cfg.Events.EventOn(ref, corev1.EventTypeWarning, "Failed", "Error: %s", image.ImagePullBackOff)
	}
}

// softenAt is when softenPullErrors has something to do. mu must be held.
func (w *worker) softenAt() (at time.Time) {
	for _, t := range w.obs.Trouble {
		if t.Reason == image.ErrImagePull {
			if soon := t.Since.Add(showPullError); at.IsZero() || soon.Before(at) {
				at = soon
			}
		}
	}
	return at
}

// deadlineEvent says that the pod has had its time. mu must be held.
func (w *worker) deadlineEvent(status *corev1.PodStatus) {
	if status.Reason == podstate.DeadlineExceeded && w.obs.Previous.Reason != status.Reason {
		w.pool.cfg.Events.EventOn(w.ref(""), corev1.EventTypeNormal, status.Reason, "%s", status.Message)
	}
}

// backOffEvents says once for each crash that its container is held back. mu must be held.
func (w *worker) backOffEvents(status *corev1.PodStatus) {
	for _, pair := range [][2][]corev1.ContainerStatus{
		{w.obs.Previous.ContainerStatuses, status.ContainerStatuses},
		{w.obs.Previous.InitContainerStatuses, status.InitContainerStatuses},
	} {
		for i := range pair[1] {
			now := &pair[1][i]
			if !crashLooping(now) || i < len(pair[0]) && crashLooping(&pair[0][i]) && pair[0][i].RestartCount == now.RestartCount {
				continue
			}
			w.pool.cfg.Events.EventOn(w.ref(now.Name), corev1.EventTypeWarning, "BackOff",
				"Back-off restarting failed container %s in pod %s_%s(%s)", now.Name, w.name, w.namespace, w.uid)
		}
	}
}

func crashLooping(s *corev1.ContainerStatus) bool {
	return s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff"
}

// findContainer returns a pod's container of any sort by its name, or nil.
func findContainer(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return (*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		}
	}
	return nil
}
