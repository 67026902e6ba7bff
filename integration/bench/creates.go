package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
)

// creates makes pods that nobody schedules, over REST and over gRPC, and removes them.
func creates(ctx context.Context, o options, c *running, t *table) error {
	direct := client.New(c.grpc, "bench")
	pods := c.kube.CoreV1().Pods("default")
	protocols := []struct {
		name   string
		create func(context.Context, *corev1.Pod) error
	}{
		{"REST, JSON", func(ctx context.Context, p *corev1.Pod) error {
			_, err := pods.Create(ctx, p, metav1.CreateOptions{})
			return err
		}},
		{"gRPC", func(ctx context.Context, p *corev1.Pod) error { return direct.Create(ctx, p) }},
	}
	for i, p := range protocols {
		took, latencies, err := o.createAll(ctx, fmt.Sprintf("create-%d", i), p.create)
		if err != nil {
			return fmt.Errorf("create pods over %s: %w", p.name, err)
		}
		t.add("pod creates over "+p.name, fmt.Sprintf("%.0f /s", float64(o.creates)/took.Seconds()), "")
		t.add("  p50, p99", quantiles(latencies), "")
		now := int64(0)
		if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{LabelSelector: "app=bench"}); err != nil {
			return fmt.Errorf("remove the pods: %w", err)
		}
	}
	return nil
}

func (o options) createAll(ctx context.Context, prefix string, create func(context.Context, *corev1.Pod) error) (time.Duration, []time.Duration, error) {
	latencies := make([]time.Duration, o.creates)
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for range o.workers {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= o.creates {
					return nil
				}
				pod := o.pod(fmt.Sprintf("%s-%d", prefix, i))
				pod.Spec.SchedulerName = "nobody"
				at := time.Now()
				if err := create(ctx, pod); err != nil {
					return err
				}
				latencies[i] = time.Since(at)
			}
		})
	}
	err := g.Wait()
	return time.Since(began), latencies, err
}
