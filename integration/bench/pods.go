package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
	docker "github.com/moby/moby/client"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

func (o options) pod(name string) *corev1.Pod {
	now := int64(0)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"app": "bench"}},
		Spec:       corev1.PodSpec{TerminationGracePeriodSeconds: &now, Containers: []corev1.Container{{Name: "app", Image: o.image, ImagePullPolicy: corev1.PullIfNotPresent}}},
	}
}

// podStarts times single pods from create to Running, each beside bare calls to the engine: the two containers that a pod
// has, one after the other, and one container as `docker run` makes it.
func podStarts(ctx context.Context, o options, c *running, t *table) error {
	engine, err := docker.New(docker.FromEnv)
	if err != nil {
		return err
	}
	defer engine.Close()
	var pods, two, one []time.Duration
	for i := range o.starts {
		d, err := c.startPod(ctx, o.pod(fmt.Sprintf("start-%d", i)))
		if err != nil {
			return err
		}
		pods = append(pods, d)
		if d, err = bareStarts(ctx, engine, o.image, "none", "none"); err != nil {
			return err
		}
		two = append(two, d)
		if d, err = bareStarts(ctx, engine, o.image, ""); err != nil {
			return err
		}
		one = append(one, d)
	}
	t.add("one pod, create to Running: p50, p99", quantiles(pods), "")
	t.add("two bare containers without a network, create and start: p50, p99", quantiles(two), "")
	t.add("a pod's overhead over these at p50", ms(quantile(pods, 0.5)-quantile(two, 0.5)), "50 ms")
	t.add("one bare container as docker run makes it, create and start: p50, p99", quantiles(one), "")
	return nil
}

func (c *running) startPod(ctx context.Context, pod *corev1.Pod) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	pods := c.kube.CoreV1().Pods(pod.Namespace)
	w, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", pod.Name).String()})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	began := time.Now()
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	for ev := range w.ResultChan() {
		if p, ok := ev.Object.(*corev1.Pod); ok && p.Status.Phase == corev1.PodRunning {
			took := time.Since(began)
			return took, pods.Delete(ctx, pod.Name, metav1.DeleteOptions{})
		}
	}
	return 0, fmt.Errorf("pod %s was not Running within %s", pod.Name, startTimeout)
}

// bareStarts makes and starts containers with the engine alone, one after the other, each in one of the engine's networks.
func bareStarts(ctx context.Context, engine *docker.Client, image string, networks ...container.NetworkMode) (time.Duration, error) {
	began := time.Now()
	var ids []string
	defer func() {
		for _, id := range ids {
			_, _ = engine.ContainerRemove(ctx, id, docker.ContainerRemoveOptions{Force: true})
		}
	}()
	for _, network := range networks {
		made, err := engine.ContainerCreate(ctx, docker.ContainerCreateOptions{
			Config: &container.Config{Image: image}, HostConfig: &container.HostConfig{NetworkMode: network},
		})
		if err != nil {
			return 0, fmt.Errorf("create a bare container: %w", err)
		}
		ids = append(ids, made.ID)
		if _, err := engine.ContainerStart(ctx, made.ID, docker.ContainerStartOptions{}); err != nil {
			return 0, fmt.Errorf("start a bare container: %w", err)
		}
	}
	return time.Since(began), nil
}

// manyPods runs a number of pods at once on one node, for the time to all Running, beside a plain loop of the same calls to
// the engine, and for the memory they cost.
func manyPods(ctx context.Context, o options, c *running, t *table) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	engine, err := docker.New(docker.FromEnv)
	if err != nil {
		return err
	}
	defer engine.Close()
	var loop time.Duration
	for range o.pods {
		d, err := bareStarts(ctx, engine, o.image, "none", "none")
		if err != nil {
			return err
		}
		loop += d
	}
	pods := c.kube.CoreV1().Pods("default")
	began := time.Now()
	for i := range o.pods {
		if _, err := pods.Create(ctx, o.pod(fmt.Sprintf("many-%d", i)), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	if err := until(ctx, func() bool {
		list, err := pods.List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running"})
		return err == nil && len(list.Items) >= o.pods
	}); err != nil {
		return fmt.Errorf("%d pods Running: %w", o.pods, err)
	}
	t.add(fmt.Sprintf("%d pods at once on one node, first create to all Running", o.pods), seconds(began), fmt.Sprintf("%.2f s, the loop's", loop.Seconds()))
	t.add(fmt.Sprintf("a plain loop: two bare containers without a network, %d times", o.pods), fmt.Sprintf("%.2f s", loop.Seconds()), "")
	after, err := read(c.daemon.Process.Pid)
	if err != nil {
		return err
	}
	t.add(fmt.Sprintf("memory with %d pods", o.pods), mib(after.rss), "")
	if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "app=bench"}); err != nil {
		return err
	}
	return until(ctx, func() bool {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=bench"})
		return err == nil && len(list.Items) == 0
	})
}

func quantile(d []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func quantiles(d []time.Duration) string { return ms(quantile(d, 0.5)) + ", " + ms(quantile(d, 0.99)) }

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
