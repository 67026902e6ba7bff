package quota

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/watch"
)

const (
	// leastGap and mostGap keep the measurings of one quota apart while its objects come and go by the hundred: ten times as
	// long as the last one took.
	leastGap, mostGap, gapFactor = 20 * time.Millisecond, time.Second, 10
	// strayAfter is when a new quota is measured once more: a write that was under way when it came is not charged.
	strayAfter = 2 * time.Second
)

// keeper measures quotas anew when they change, or when one of their objects goes, ends, or changes what it uses. Kinds
// that no quota counts are not looked at.
type keeper struct {
	ledger *Ledger
	queue  *reconcile.Controller
	group  *errgroup.Group

	mu sync.Mutex
	// gaps are how far apart to measure the quotas that take long.
	gaps map[informer.Key]time.Duration
	// counted is what each quota counts, by namespace and name; followed are the kinds that any quota counts.
	counted  map[string]map[string]counted
	followed map[schema.GroupResource]*followed
}

// counted are the limits of a quota and the kinds that they are about.
type counted struct {
	hard  corev1.ResourceList
	kinds []schema.GroupResource
}

// followed is a kind that some quotas count.
type followed struct {
	quotas int
	stop   context.CancelFunc
}

// Run keeps the quotas' status true until ctx ends.
func (l *Ledger) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, l.end)()
	group, ctx := errgroup.WithContext(ctx)
	k := &keeper{
		ledger: l, group: group, gaps: map[informer.Key]time.Duration{},
		counted: map[string]map[string]counted{}, followed: map[schema.GroupResource]*followed{},
	}
	k.queue = reconcile.New("quota", 1, k.measure, l.log)
	group.Go(func() error { return k.queue.Run(ctx) })
	group.Go(func() error { return k.followQuotas(ctx) })
	return group.Wait()
}

// measure brings one quota's status up to date.
func (k *keeper) measure(ctx context.Context, key informer.Key) (time.Duration, error) {
	e := &entry{measure: key.Name}
	start := time.Now()
	err := k.ledger.enqueue(ctx, key.Namespace, e)
	k.mu.Lock()
	if gap := gapFactor * time.Since(start); gap > leastGap {
		k.gaps[key] = min(gap, mostGap)
	} else {
		delete(k.gaps, key)
	}
	k.mu.Unlock()
	if err != nil || e.again.IsZero() {
		return 0, err
	}
	return max(time.Until(e.again), mostGap), nil
}

// soon has a quota measured, at once if that was not done just now.
func (k *keeper) soon(key informer.Key) {
	k.mu.Lock()
	gap := max(k.gaps[key], leastGap)
	k.mu.Unlock()
	k.queue.EnqueueSoon(key, gap)
}

// followQuotas learns what quotas there are.
func (k *keeper) followQuotas(ctx context.Context) error {
	kind, quotas := k.ledger.objects.Resource(corev1.Resource("resourcequotas"))
	if quotas == nil {
		return nil
	}
	for {
		w, err := quotas.Watch(ctx, watch.WatchOptions{SendInitial: true, InitialEnd: true})
		if err == nil {
			err = k.readQuotas(ctx, w, kind)
		}
		switch {
		case ctx.Err() != nil || errors.Is(err, watch.ErrClosed):
			return nil
		case errors.Is(err, watch.ErrSlow) || errors.Is(err, watch.ErrExpired):
		default:
			return fmt.Errorf("watch resourcequotas: %w", err)
		}
	}
}

func (k *keeper) readQuotas(ctx context.Context, w *watch.Watcher, kind *registry.Kind) error {
	defer w.Stop()
	seen := map[informer.Key]bool{}
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, ev := range events {
			if ev.Type == watch.Bookmark {
				if ev.InitialEnd {
					k.forgetUnseen(seen)
				}
				continue
			}
			key := informer.Key{Namespace: ev.Entry.Namespace, Name: ev.Entry.Name}
			seen[key] = true
			if ev.Type == watch.Deleted {
				k.forget(key)
				continue
			}
			obj, err := codec.Load(kind, ev.Entry.Value, ev.Entry.Revision)
			if err != nil {
				return err
			}
			q := obj.(*corev1.ResourceQuota)
			k.learn(ctx, key, q)
			if !measured(q) {
				k.queue.Enqueue(key)
				k.queue.EnqueueAfter(key, strayAfter)
			} else if ev.Type == watch.Added {
				// After a start nobody knows what has gone meanwhile.
				k.queue.Enqueue(key)
			}
		}
	}
}

// learn remembers which kinds a quota counts and begins to follow those.
func (k *keeper) learn(ctx context.Context, key informer.Key, q *corev1.ResourceQuota) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before, known := k.counted[key.Namespace][key.Name]
	if known && same(before.hard, q.Spec.Hard) {
		return
	}
	now := counted{hard: q.Spec.Hard}
	for _, ev := range evaluatorsFor(q.Spec.Hard) {
		now.kinds = append(now.kinds, ev.resource)
		if k.followed[ev.resource] == nil {
			follow, stop := context.WithCancel(ctx)
			k.followed[ev.resource] = &followed{stop: stop}
			k.group.Go(func() error { return k.follow(follow, ev) })
		}
		k.followed[ev.resource].quotas++
	}
	if k.counted[key.Namespace] == nil {
		k.counted[key.Namespace] = map[string]counted{}
	}
	k.counted[key.Namespace][key.Name] = now
	k.release(before.kinds)
}

// release stops to follow what no quota counts any more. k.mu is held.
func (k *keeper) release(kinds []schema.GroupResource) {
	for _, gr := range kinds {
		f := k.followed[gr]
		if f.quotas--; f.quotas == 0 {
			f.stop()
			delete(k.followed, gr)
		}
	}
}

func (k *keeper) forget(key informer.Key) {
	k.mu.Lock()
	k.release(k.counted[key.Namespace][key.Name].kinds)
	delete(k.counted[key.Namespace], key.Name)
	delete(k.gaps, key)
	last := len(k.counted[key.Namespace]) == 0
	if last {
		delete(k.counted, key.Namespace)
	}
	k.mu.Unlock()
	if last {
		k.ledger.forgetLine(key.Namespace)
	}
}

func (k *keeper) forgetUnseen(seen map[informer.Key]bool) {
	k.mu.Lock()
	var gone []informer.Key
	for namespace, quotas := range k.counted {
		for name := range quotas {
			if key := (informer.Key{Namespace: namespace, Name: name}); !seen[key] {
				gone = append(gone, key)
			}
		}
	}
	k.mu.Unlock()
	for _, key := range gone {
		k.forget(key)
	}
}

// counting returns the quotas that count a kind, in one namespace or, when that is empty, in all.
func (k *keeper) counting(gr schema.GroupResource, namespace string) (out []informer.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	add := func(namespace string) {
		for name, c := range k.counted[namespace] {
			for _, kind := range c.kinds {
				if kind == gr {
					out = append(out, informer.Key{Namespace: namespace, Name: name})
				}
			}
		}
	}
	if namespace != "" {
		add(namespace)
		return out
	}
	for namespace := range k.counted {
		add(namespace)
	}
	return out
}

// forgetLine drops what is known of a namespace without quotas.
func (l *Ledger) forgetLine(namespace string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ln := l.lines[namespace]; ln != nil && !ln.busy {
		delete(l.lines, namespace)
	}
}
