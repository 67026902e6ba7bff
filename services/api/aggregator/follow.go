package aggregator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/watch"
)

// The pauses after a watch has failed.
const minRetry, maxRetry = 50 * time.Millisecond, 5 * time.Second

// follow keeps what is known of the APIServices until ctx ends.
func (a *Aggregator) follow(ctx context.Context) error {
	var initial map[string]*apiService
	begin := func() { initial = map[string]*apiService{} }
	return a.watch(ctx, gvkAPIService, watch.WatchOptions{}, begin, func(events []watch.Event) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		into := initial
		if into == nil {
			// What reconciles reads the map without holding the lock.
			into = maps.Clone(a.known)
			a.known = into
		}
		for _, ev := range events {
			if ev.Type == watch.Bookmark {
				if ev.InitialEnd && initial != nil {
					a.known, initial = initial, nil
				}
				continue
			}
			if err := apply(into, ev); err != nil {
				return err
			}
		}
		if initial == nil {
			wake(a.kick)
		}
		return nil
	})
}

func apply(all map[string]*apiService, ev watch.Event) error {
	if ev.Type == watch.Deleted {
		delete(all, ev.Entry.Name)
		return nil
	}
	obj := &apiService{}
	if err := codec.Decode(ev.Entry.Value, ev.Entry.Revision, obj); err != nil {
		return fmt.Errorf("read APIService %s: %w", ev.Entry.Name, err)
	}
	all[ev.Entry.Name] = obj
	return nil
}

// watch hands over the events of a kind until ctx ends. A watch that is cut begins anew, with everything, after begin.
func (a *Aggregator) watch(ctx context.Context, gvk schema.GroupVersionKind, opts watch.WatchOptions, begin func(), take func([]watch.Event) error) error {
	opts.SendInitial, opts.InitialEnd = true, true
	for delay := minRetry; ; delay = min(2*delay, maxRetry) {
		began := time.Now()
		begin()
		err := a.watchOnce(ctx, gvk, opts, take)
		if ctx.Err() != nil || errors.Is(err, watch.ErrClosed) {
			return nil
		}
		a.log.Warn("a watch failed, trying again", zap.String("kind", gvk.Kind), zap.Error(err))
		if time.Since(began) > maxRetry {
			delay = minRetry
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil
		}
	}
}

func (a *Aggregator) watchOnce(ctx context.Context, gvk schema.GroupVersionKind, opts watch.WatchOptions, take func([]watch.Event) error) error {
	collection := a.config.Resources.Collection(gvk)
	if collection == nil {
		return watch.ErrClosed
	}
	w, err := collection.Watch(ctx, opts)
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		if err := take(events); err != nil {
			return err
		}
	}
}
