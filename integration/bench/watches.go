package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	watchedPods = 100
	// stamp precedes the time of an update in its object.
	stamp      = "bench-at-"
	stampWidth = 19
)

// watches times what many watchers are told of, over each front: at a steady rate and as fast as it goes.
func watches(ctx context.Context, o options, c *running, t *table) error {
	if err := c.namespace(ctx); err != nil {
		return err
	}
	fronts, err := c.fronts()
	if err != nil {
		return err
	}
	for _, f := range fronts {
		for _, w := range []struct {
			what, aim string
			updates   int
			rate      float64
		}{{fmt.Sprintf("50 updates/s to %d watchers", o.watchers), aims["paced"], o.updates, 50}, {fmt.Sprintf("updates flat out to %d watchers", o.watchers), aims["flat out"], 4 * o.updates, 0}} {
			all := bodies("Pod", "watched", watchedPods)
			if _, err := c.each(ctx, len(all), o.workers, 0, func(ctx context.Context, i int) error { return f.create(ctx, "Pod", all[i]) }); err != nil {
				return err
			}
			result, err := c.watched(ctx, o, f, w.updates, w.rate)
			if err != nil {
				return fmt.Errorf("watch over %s: %w", f.name(), err)
			}
			t.add(w.what+", "+f.name(), result, w.aim)
			if err := c.remove(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// tally is what one watcher was told.
type tally struct {
	began     time.Time
	latencies []time.Duration
}

// hear takes an event's bytes, and reports whether it is one of an update.
func (t *tally) hear(event []byte) bool {
	i := bytes.Index(event, []byte(stamp))
	if i < 0 || len(event) < i+len(stamp)+stampWidth {
		return false
	}
	sent, err := strconv.ParseInt(string(event[i+len(stamp):i+len(stamp)+stampWidth]), 10, 64)
	if err == nil {
		t.latencies = append(t.latencies, time.Since(t.began)-time.Duration(sent))
	}
	return err == nil
}

func (c *running) watched(ctx context.Context, o options, f front, updates int, rate float64) (string, error) {
	list, err := c.kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return "", err
	}
	began := time.Now()
	heard := make([]tally, o.watchers)
	var total, closed atomic.Int64
	wctx, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	opened := make(chan struct{}, o.watchers)
	for i := range heard {
		heard[i] = tally{began, make([]time.Duration, 0, updates)}
		watching.Go(func() {
			err := f.watch(wctx, list.ResourceVersion, func() { opened <- struct{}{} }, func(event []byte) {
				if heard[i].hear(event) {
					total.Add(1)
				}
			})
			if err != nil && wctx.Err() == nil {
				closed.Add(1)
				opened <- struct{}{}
			}
		})
	}
	for range heard {
		<-opened
	}
	m, err := c.each(ctx, updates, o.workers, rate, func(ctx context.Context, i int) error {
		at := fmt.Sprintf("%s%0*d", stamp, stampWidth, time.Since(began))
		return f.patch(ctx, fmt.Sprintf("watched-%d", i%watchedPods), fmt.Sprintf(`{"metadata":{"annotations":{"at":%q}}}`, at))
	})
	if err != nil {
		return "", err
	}
	return c.delivered(ctx, m, heard, &total, &closed, stop, &watching)
}

// delivered waits until everybody has been told everything, and sums up.
func (c *running) delivered(ctx context.Context, m measured, heard []tally, total, closed *atomic.Int64, stop func(), watching *sync.WaitGroup) (string, error) {
	want := int64(m.n) * int64(len(heard))
	before, ended := time.Now(), time.Now()
	for last := total.Load(); total.Load() < want && time.Since(ended) < 5*time.Second; {
		wait(ctx, 10*time.Millisecond)
		if now := total.Load(); now != last {
			last, ended = now, time.Now()
		}
	}
	took := m.took + ended.Sub(before)
	now, err := read(c.daemon.Process.Pid)
	if err != nil {
		return "", err
	}
	m.cpu += now.cpu - m.until
	stop()
	watching.Wait()
	var all []time.Duration
	for i := range heard {
		all = append(all, heard[i].latencies...)
	}
	return fmt.Sprintf("%.0f events/s, p50, p99 %s, %s CPU an update, %d missing, %d closed",
		float64(len(all))/took.Seconds(), quantiles(all), fine(m.cpuEach()), want-total.Load(), closed.Load()), nil
}

// idleWatches opens many watches of objects that do not change, over each front, and divides what they cost.
func idleWatches(ctx context.Context, o options, c *running, t *table) error {
	r, err := newREST(c.rest, max(1, o.idleWatches/1000))
	if err != nil {
		return err
	}
	for _, f := range []front{r, &overGRPC{c.api}} {
		if err := c.idleWatches(ctx, o, f, t); err != nil {
			return fmt.Errorf("idle watches over %s: %w", f.name(), err)
		}
	}
	return nil
}

func (c *running) idleWatches(ctx context.Context, o options, f front, t *table) error {
	before, err := c.inUse(ctx)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	opening, _ := errgroup.WithContext(ctx)
	opening.SetLimit(o.workers)
	for range o.idleWatches {
		opening.Go(func() error {
			opened := make(chan error, 2)
			watching.Go(func() { opened <- f.watch(ctx, "0", func() { opened <- nil }, func([]byte) {}) })
			return <-opened
		})
	}
	if err := opening.Wait(); err != nil {
		return err
	}
	after, err := c.inUse(ctx)
	if err != nil {
		return err
	}
	each := (after - before) / float64(o.idleWatches) / 1024
	t.add(fmt.Sprintf("%d idle watches, %s: memory of each", o.idleWatches, f.name()), fmt.Sprintf("%.1f KiB", each), aims["idle"])
	return nil
}
