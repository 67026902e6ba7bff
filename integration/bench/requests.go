package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// conns is on how many connections a front works.
const conns = 4

// fronts are both ways into the API.
func (c *running) fronts() ([]front, error) {
	r, err := newREST(c.rest, conns)
	if err != nil {
		return nil, err
	}
	return []front{r, &overGRPC{c.api}}, nil
}

// aims are what the API's cases are held to, over REST; gRPC should be better.
var aims = map[string]string{
	"create ConfigMap": "3500 /s, 0.45 ms", "create Pod": "2500 /s, 0.6 ms", "get Pod": "8000 /s, 0.2 ms",
	"list json": "80 ms, 50 ms CPU", "list protobuf": "40 ms, 50 ms CPU", "list selected": "2 ms",
	"paced": "p99 10 ms, 2 ms CPU", "flat out": "200000 events/s, none missing", "idle": "10 KiB", "memory": "250 MiB",
}

// requests times single requests: creates, gets and lists, over each front.
func requests(ctx context.Context, o options, c *running, t *table) error {
	if err := c.namespace(ctx); err != nil {
		return err
	}
	fronts, err := c.fronts()
	if err != nil {
		return err
	}
	for _, f := range fronts {
		for _, kind := range []string{"ConfigMap", "Pod"} {
			if err := c.creates(ctx, o, f, kind, t); err != nil {
				return err
			}
		}
	}
	if err := c.fill(ctx, o, fronts[1]); err != nil {
		return err
	}
	for _, f := range fronts {
		if err := c.gets(ctx, o, f, t); err != nil {
			return err
		}
		if err := c.lists(ctx, f, t); err != nil {
			return err
		}
	}
	return c.remove(ctx)
}

// namespace makes the one that the cases work in, once.
func (c *running) namespace(ctx context.Context) error {
	_, err := c.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return until(ctx, func() bool {
		_, err := c.kube.CoreV1().ServiceAccounts(ns).Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	})
}

func (c *running) creates(ctx context.Context, o options, f front, kind string, t *table) error {
	all := bodies(kind, "create", o.creates)
	m, err := c.each(ctx, len(all), o.workers, 0, func(ctx context.Context, i int) error { return f.create(ctx, kind, all[i]) })
	if err != nil {
		return fmt.Errorf("create over %s: %w", f.name(), err)
	}
	t.add(fmt.Sprintf("create %s, JSON, %d workers, %s", kind, o.workers, f.name()), m.String(), aims["create "+kind])
	return c.remove(ctx)
}

// fill makes what is read.
func (c *running) fill(ctx context.Context, o options, f front) error {
	all := bodies("Pod", "filled", o.listed)
	_, err := c.each(ctx, len(all), o.workers, 0, func(ctx context.Context, i int) error { return f.create(ctx, "Pod", all[i]) })
	return err
}

func (c *running) gets(ctx context.Context, o options, f front, t *table) error {
	m, err := c.each(ctx, 2*o.creates, o.workers, 0, func(ctx context.Context, i int) error {
		return f.get(ctx, "Pod", fmt.Sprintf("filled-%d", i%o.listed))
	})
	if err != nil {
		return fmt.Errorf("get over %s: %w", f.name(), err)
	}
	t.add(fmt.Sprintf("get Pod, %d workers, %s", o.workers, f.name()), m.String(), aims["get Pod"])
	return nil
}

func (c *running) lists(ctx context.Context, f front, t *table) error {
	const times = 10
	for _, l := range []struct {
		what, aim, encoding string
		opts                metav1.ListOptions
		first               bool
	}{
		{"list all pods, JSON, first", "", "json", metav1.ListOptions{ResourceVersion: "0"}, true},
		{"list all pods, JSON", aims["list json"], "json", metav1.ListOptions{ResourceVersion: "0"}, false},
		{"list all pods, JSON, consistent", aims["list json"], "json", metav1.ListOptions{}, false},
		{"list all pods, protobuf", aims["list protobuf"], "protobuf", metav1.ListOptions{ResourceVersion: "0"}, false},
		{"list 100 pods by label", aims["list selected"], "json", metav1.ListOptions{LabelSelector: "hundredth=7"}, false},
		{"list one pod by field", aims["list selected"], "json", metav1.ListOptions{FieldSelector: "metadata.name=filled-7"}, false},
	} {
		n := times
		if l.first {
			n = 1
		}
		size := 0
		m, err := c.each(ctx, n, 1, 0, func(ctx context.Context, _ int) (err error) {
			size, err = f.list(ctx, l.encoding, l.opts)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s over %s: %w", l.what, f.name(), err)
		}
		t.add(l.what+", "+f.name(), fmt.Sprintf("p50 %s, %s CPU, %.1f MB", ms(quantile(m.latencies, 0.5)), fine(m.cpuEach()), float64(size)/1e6), l.aim)
	}
	return nil
}

// remove deletes what a case has made.
func (c *running) remove(ctx context.Context) error {
	now := int64(0)
	for _, del := range []func() error{
		func() error {
			return c.kube.CoreV1().Pods(ns).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{})
		},
		func() error {
			return c.kube.CoreV1().ConfigMaps(ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "app=bench"})
		},
	} {
		if err := del(); err != nil {
			return fmt.Errorf("remove what was made: %w", err)
		}
	}
	return nil
}

// afterwards is what the daemon still holds once it has been left alone for a while.
func afterwards(ctx context.Context, _ options, c *running, t *table) error {
	at, err := read(c.daemon.Process.Pid)
	if err != nil {
		return err
	}
	wait(ctx, 10*time.Second)
	quiet, err := read(c.daemon.Process.Pid)
	if err != nil {
		return err
	}
	t.add("memory at the end; ten seconds later", mib(at.rss)+"; "+mib(quiet.rss), aims["memory"])
	return nil
}
