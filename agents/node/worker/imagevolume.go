package worker

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/volume"
)

// imageVolumes makes the images of a pod's image volumes available, once, and returns their layers by volume. A newer
// image of the same name is for newer pods. preparing must be held.
func (w *worker) imageVolumes(ctx context.Context, pod *corev1.Pod) (map[string][]string, error) {
	used := volume.Used(pod)
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if _, done := w.layers[v.Name]; done || v.Image == nil || !used[v.Name] {
			continue
		}
		asked := &corev1.Container{Name: v.Name, Image: v.Image.Reference, ImagePullPolicy: v.Image.PullPolicy}
		emit := func(eventType, reason, format string, args ...any) { w.event("", eventType, reason, format, args...) }
		img, err := w.pool.cfg.Images.Ensure(ctx, asked, w.pullSecrets(pod, v.Image.Reference), emit)
		if err != nil {
			return nil, err
		}
		if w.layers == nil {
			w.layers = map[string][]string{}
		}
		w.layers[v.Name] = img.Layers
	}
	return w.layers, nil
}
