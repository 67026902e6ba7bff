package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// ns is where the API's cases work: nothing else looks at it.
const ns = "bench"

// front is one way into the API. Bodies go in and come out encoded: the client's work is as little as it can be.
type front interface {
	name() string
	create(ctx context.Context, kind string, body []byte) error
	get(ctx context.Context, kind, name string) error
	// list returns how many bytes it got.
	list(ctx context.Context, encoding string, opts metav1.ListOptions) (int, error)
	patch(ctx context.Context, name, body string) error
	// watch calls opened when it is accepted, and event with everything that comes, until ctx ends.
	watch(ctx context.Context, revision string, opened func(), event func([]byte)) error
}

// measured is what a case took.
type measured struct {
	took, cpu time.Duration
	until     time.Duration // the daemon's CPU time at the end
	n         int
	latencies []time.Duration
}

func (m measured) perSecond() float64 { return float64(m.n) / m.took.Seconds() }

func (m measured) cpuEach() time.Duration { return m.cpu / time.Duration(max(m.n, 1)) }

func (m measured) String() string {
	return fmt.Sprintf("%.0f /s, %s CPU, p50, p99 %s", m.perSecond(), fine(m.cpuEach()), quantiles(m.latencies))
}

func fine(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }

// each runs do for 0 to n-1, some at the same time, and measures that and the daemon's CPU time. A rate above 0 paces it.
func (c *running) each(ctx context.Context, n, workers int, rate float64, do func(ctx context.Context, i int) error) (measured, error) {
	before, err := read(c.daemon.Process.Pid)
	if err != nil {
		return measured{}, err
	}
	m := measured{n: n, latencies: make([]time.Duration, n)}
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range min(workers, n) {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if rate > 0 {
					wait(ctx, time.Until(before.at.Add(time.Duration(float64(i)/rate*float64(time.Second)))))
				}
				began := time.Now()
				if err := do(ctx, i); err != nil {
					return err
				}
				m.latencies[i] = time.Since(began)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return m, err
	}
	m.took = time.Since(before.at)
	return m, c.account(&m, before)
}

// account adds the CPU time that the daemon has used since.
func (c *running) account(m *measured, before sample) error {
	after, err := read(c.daemon.Process.Pid)
	m.cpu, m.until = after.cpu-before.cpu, after.cpu
	return err
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// bodies makes objects of about a KiB, as JSON.
func bodies(kind, prefix string, n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		name := fmt.Sprintf("%s-%d", prefix, i)
		meta := metav1.ObjectMeta{Name: name, Namespace: ns, Labels: map[string]string{"app": "bench", "hundredth": fmt.Sprint(i / 100)}}
		var obj runtime.Object
		if kind == "ConfigMap" {
			obj = &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kind}, ObjectMeta: meta, Data: map[string]string{"text": strings.Repeat("text ", 170)}}
		} else {
			obj = pod(meta)
		}
		out[i] = mustJSON(obj)
	}
	return out
}

// pod is one that nobody schedules.
func pod(meta metav1.ObjectMeta) *corev1.Pod {
	meta.Annotations = map[string]string{"text": strings.Repeat("text ", 90)}
	off := false
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: meta,
		Spec: corev1.PodSpec{
			SchedulerName: "nobody", AutomountServiceAccountToken: &off,
			Containers: []corev1.Container{{Name: "app", Image: "my-app", Env: []corev1.EnvVar{{Name: "A", Value: strings.Repeat("a", 60)}}, Ports: []corev1.ContainerPort{{ContainerPort: 8080}}}},
		},
	}
}
