package informer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/client"
)

// Set is the informers of a process.
type Set struct {
	client *client.Client
	log    *zap.Logger

	mu        sync.Mutex
	informers map[reflect.Type]runner
	order     []runner
}

type runner interface {
	run(ctx context.Context, c *client.Client, log *zap.Logger) error
	WaitSynced(ctx context.Context) error
}

// NewSet returns an empty set that will watch through c.
func NewSet(c *client.Client, log *zap.Logger) *Set {
	return &Set{client: c, log: log, informers: map[reflect.Type]runner{}}
}

// For returns the set's informer of a kind, made at the first call: informer.For[*corev1.Pod](set). All calls come
// before the set runs.
func For[T client.Object](s *Set) *Informer[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := reflect.TypeFor[T]()
	if found, ok := s.informers[t]; ok {
		return found.(*Informer[T])
	}
	made := &Informer[T]{
		newObject: func() T { return reflect.New(t.Elem()).Interface().(T) },
		objects:   map[Key]T{}, indexes: map[string]*index[T]{}, synced: make(chan struct{}),
	}
	made.AddIndex(namespaceIndex, func(obj T) []string { return []string{obj.GetNamespace()} })
	s.informers[t], s.order = made, append(s.order, made)
	return made
}

// Run keeps every informer up to date until ctx ends. Lost streams are resumed where they broke; an expired revision
// starts over from a new snapshot, with the difference told to the handlers.
func (s *Set) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, r := range s.order {
		g.Go(func() error { return r.run(ctx, s.client, s.log) })
	}
	return g.Wait()
}

// WaitSynced blocks until every informer has its first complete state.
func (s *Set) WaitSynced(ctx context.Context) error {
	for _, r := range s.order {
		if err := r.WaitSynced(ctx); err != nil {
			return err
		}
	}
	return nil
}

const (
	minBackoff = 20 * time.Millisecond
	maxBackoff = 5 * time.Second
)

func (i *Informer[T]) run(ctx context.Context, c *client.Client, log *zap.Logger) error {
	backoff := minBackoff
	for {
		started := time.Now()
		err := i.watch(ctx, c)
		if ctx.Err() != nil {
			return nil
		}
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			i.resource = ""
		}
		if time.Since(started) > maxBackoff {
			backoff = minBackoff
		}
		log.Debug("watch ended, resuming", zap.String("type", fmt.Sprintf("%T", i.newObject())), zap.String("revision", i.resource), zap.Error(err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff/2 + rand.N(backoff)):
		}
		backoff = min(backoff*2, maxBackoff)
	}
}

// watch runs one stream. While a snapshot arrives, seen collects what exists; at its end everything else goes.
func (i *Informer[T]) watch(ctx context.Context, c *client.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := c.Watch(ctx, i.newObject(), client.ListOptions{}, i.resource)
	if err != nil {
		return err
	}
	var seen map[Key]bool
	if i.resource == "" {
		seen = map[Key]bool{}
	}
	for {
		ev, err := w.Next()
		if err != nil {
			return err
		}
		if err := i.apply(ev, &seen); err != nil {
			return err
		}
	}
}

func (i *Informer[T]) apply(ev *apiv1.WatchEvent, seen *map[Key]bool) error {
	obj := i.newObject()
	if err := client.Decode(ev.GetObject(), obj); err != nil {
		return err
	}
	obj.SetManagedFields(nil)
	key := KeyOf(obj)
	switch ev.GetType() {
	case apiv1.WatchEvent_TYPE_ADDED, apiv1.WatchEvent_TYPE_MODIFIED:
		if *seen != nil {
			(*seen)[key] = true
		}
		i.set(key, obj, true)
	case apiv1.WatchEvent_TYPE_DELETED:
		var none T
		i.set(key, none, false)
	case apiv1.WatchEvent_TYPE_BOOKMARK:
		if *seen != nil && obj.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true" {
			i.finishSnapshot(*seen)
			*seen = nil
		}
	}
	// Until the snapshot is whole there is no revision to resume from.
	if *seen == nil {
		i.resource = strconv.FormatInt(ev.GetRevision(), 10)
	}
	return nil
}

func (i *Informer[T]) finishSnapshot(seen map[Key]bool) {
	i.mu.RLock()
	var gone []Key
	for key := range i.objects {
		if !seen[key] {
			gone = append(gone, key)
		}
	}
	i.mu.RUnlock()
	var none T
	for _, key := range gone {
		i.set(key, none, false)
	}
	i.syncOnce.Do(func() { close(i.synced) })
}
