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
	informers map[subject]runner
	order     []runner
	running   bool
}

// subject is what an informer holds: the objects of one type that a field selector chooses.
type subject struct {
	of     reflect.Type
	fields string
}

type runner interface {
	run(ctx context.Context, c *client.Client, log *zap.Logger) error
	WaitSynced(ctx context.Context) error
}

// NewSet returns an empty set that will watch through c.
func NewSet(c *client.Client, log *zap.Logger) *Set {
	return &Set{client: c, log: log, informers: map[subject]runner{}}
}

// For returns the set's informer of a kind, made at the first call: informer.For[*corev1.Pod](set). All first calls
// come before the set runs; a later one panics, because nothing would ever fill that informer.
func For[T client.Object](s *Set) *Informer[T] { return Select[T](s, "") }

// Select is like For, but the informer holds only the objects that a field selector chooses ("type=example.org/x"): for
// few of a kind that there are many of. The selected fields must be ones that never change.
func Select[T client.Object](s *Set, fields string) *Informer[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := reflect.TypeFor[T]()
	if found, ok := s.informers[subject{t, fields}]; ok {
		return found.(*Informer[T])
	}
	if s.running {
		panic("informer: " + t.String() + " asked for after the set has started")
	}
	made := &Informer[T]{
		fields:    fields,
		newObject: func() T { return reflect.New(t.Elem()).Interface().(T) },
		objects:   map[Key]T{}, indexes: map[string]*index[T]{}, synced: make(chan struct{}),
	}
	made.AddIndex(namespaceIndex, func(obj T) []string { return []string{obj.GetNamespace()} })
	s.informers[subject{t, fields}], s.order = made, append(s.order, made)
	return made
}

// Run keeps every informer up to date until ctx ends. Lost streams are resumed where they broke; an expired revision
// starts over from a new snapshot, with the difference told to the handlers.
func (s *Set) Run(ctx context.Context) error {
	s.mu.Lock()
	s.running = true
	order := s.order
	s.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	for _, r := range order {
		g.Go(func() error { return r.run(ctx, s.client, s.log) })
	}
	return g.Wait()
}

// WaitSynced blocks until every informer has its first complete state.
func (s *Set) WaitSynced(ctx context.Context) error {
	s.mu.Lock()
	order := s.order
	s.mu.Unlock()
	for _, r := range order {
		if err := r.WaitSynced(ctx); err != nil {
			return err
		}
	}
	return nil
}

const (
	minBackoff = 20 * time.Millisecond
	maxBackoff = 5 * time.Second
	// complainAfter is how many watches in a row may fail before the log says so.
	complainAfter = 4
	// distrustAfter is how many may fail, with the API answering, before the revision to resume from is given up for a
	// new snapshot.
	distrustAfter = 8
)

func (i *Informer[T]) run(ctx context.Context, c *client.Client, log *zap.Logger) error {
	backoff, failures := minBackoff, 0
	for {
		progress, err := i.watch(ctx, c)
		if ctx.Err() != nil {
			return nil
		}
		failures++
		if progress {
			backoff, failures = minBackoff, 0
		}
		if startOver(err) || failures >= distrustAfter && !unreachable(err) {
			i.resume = ""
		}
		i.logEnd(log, failures, err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff/2 + rand.N(backoff)):
		}
		backoff = min(backoff*2, maxBackoff)
	}
}

// startOver tells refusals of a revision from lost connections. A revision from before a backup was restored is too
// large: that one is a timeout with a cause.
func startOver(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsBadRequest(err) ||
		apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

func unreachable(err error) bool {
	return apierrors.IsServerTimeout(err) || apierrors.IsServiceUnavailable(err)
}

func (i *Informer[T]) logEnd(log *zap.Logger, failures int, err error) {
	level := zap.DebugLevel
	if failures >= complainAfter {
		level = zap.WarnLevel
	}
	log.Log(level, "watch ended, resuming", zap.String("type", fmt.Sprintf("%T", i.newObject())),
		zap.String("revision", i.resume), zap.Int("failures", failures), zap.Error(err))
}

// watch runs one stream; progress tells whether it brought anything. While a snapshot arrives, seen collects what
// exists; at its end everything else goes.
func (i *Informer[T]) watch(ctx context.Context, c *client.Client) (progress bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := c.Watch(ctx, i.newObject(), client.ListOptions{FieldSelector: i.fields}, i.resume)
	if err != nil {
		return false, err
	}
	var seen map[Key]bool
	if i.resume == "" {
		seen = map[Key]bool{}
	}
	for {
		ev, err := w.Next()
		if err != nil {
			return progress, err
		}
		if err := i.apply(ev, &seen); err != nil {
			return progress, err
		}
		progress = true
	}
}

func (i *Informer[T]) apply(ev *apiv1.WatchEvent, seen *map[Key]bool) error {
	obj := i.newObject()
	if err := client.Decode(ev.GetObject(), obj); err != nil {
		return err
	}
	obj.SetManagedFields(nil)
	// Until the snapshot is whole there is no revision that everything is known up to.
	revision := ev.GetRevision()
	if *seen != nil {
		revision = 0
	}
	switch ev.GetType() {
	case apiv1.WatchEvent_TYPE_ADDED, apiv1.WatchEvent_TYPE_MODIFIED:
		if *seen != nil {
			(*seen)[KeyOf(obj)] = true
		}
		i.put(obj, revision)
	case apiv1.WatchEvent_TYPE_DELETED:
		delete(*seen, KeyOf(obj))
		i.drop(KeyOf(obj), revision)
	case apiv1.WatchEvent_TYPE_BOOKMARK:
		if *seen != nil && obj.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true" {
			revision = ev.GetRevision()
			i.finishSnapshot(*seen, revision)
			*seen = nil
		}
		i.bookmark(revision)
	}
	if revision > 0 {
		i.resume = strconv.FormatInt(revision, 10)
	}
	return nil
}

func (i *Informer[T]) bookmark(revision int64) {
	i.mu.Lock()
	i.revision = max(i.revision, revision)
	i.mu.Unlock()
}

// finishSnapshot drops what the snapshot did not have. Its revision replaces the one before, which may be larger after
// a backup was restored.
func (i *Informer[T]) finishSnapshot(seen map[Key]bool, revision int64) {
	i.mu.Lock()
	i.revision = revision
	var gone []Key
	for key := range i.objects {
		if !seen[key] {
			gone = append(gone, key)
		}
	}
	i.mu.Unlock()
	for _, key := range gone {
		i.drop(key, 0)
	}
	i.syncOnce.Do(func() { close(i.synced) })
}
