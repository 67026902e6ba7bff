package durability

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// Witness watches the storm through every restart, from where it was.
type Witness struct {
	client kubernetes.Interface
	mu     sync.Mutex
	seen   int64
	events []event
}

type event struct {
	kind       watch.EventType
	revision   int64
	key, value string
}

// NewWitness returns a witness that watches from a revision on.
func NewWitness(client kubernetes.Interface, from int64) *Witness {
	return &Witness{client: client, seen: from}
}

// Run watches until ctx ends. It fails when the server has forgotten what happened since.
func (w *Witness) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := w.watch(ctx)
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return err
		}
		select { // the server is away: the next attempt fails at once, too
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

func (w *Witness) watch(ctx context.Context) error {
	stream, err := w.client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Watch(ctx, metav1.ListOptions{
		ResourceVersion: strconv.FormatInt(w.Seen(), 10), AllowWatchBookmarks: true,
	})
	if err != nil {
		return err
	}
	defer stream.Stop()
	for ev := range stream.ResultChan() {
		if ev.Type == watch.Error {
			return apierrors.FromObject(ev.Object)
		}
		object, ok := ev.Object.(*corev1.ConfigMap)
		if !ok {
			return fmt.Errorf("a watch of ConfigMaps has a %T", ev.Object)
		}
		revision, err := strconv.ParseInt(object.ResourceVersion, 10, 64)
		if err != nil {
			return err
		}
		w.mu.Lock()
		w.seen = revision
		if ev.Type != watch.Bookmark && strings.HasPrefix(object.Name, "storm-") {
			w.events = append(w.events, event{ev.Type, revision, object.Name, object.Data["value"]})
		}
		w.mu.Unlock()
	}
	return errors.New("the watch ended")
}

// Seen returns how far the witness has come.
func (w *Witness) Seen() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// Check says what a witness saw twice, out of order or not at all.
func (w *Witness) Check(acknowledged map[int64]change) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, last, values := map[int64]event{}, int64(0), map[string]string{}
	for _, ev := range w.events {
		if ev.revision <= last {
			return fmt.Errorf("revision %d came after %d: an event was repeated or out of order", ev.revision, last)
		}
		last, at[ev.revision] = ev.revision, ev
		if err := follows(values, ev); err != nil {
			return err
		}
	}
	for revision, want := range acknowledged {
		if got := at[revision]; got.key != want.key || got.value != want.value {
			return fmt.Errorf("the write of %s to %s at revision %d was acknowledged, but not seen (at that revision: %+v)", want.value, want.key, revision, got)
		}
	}
	return nil
}

// follows says whether an event can come after what was seen of its key.
func follows(values map[string]string, ev event) error {
	_, there := values[ev.key]
	if there == (ev.kind == watch.Added) {
		return fmt.Errorf("%s of %s at revision %d, which was there: %t: an event is missing", ev.kind, ev.key, ev.revision, there)
	}
	if ev.kind == watch.Deleted {
		delete(values, ev.key)
		return nil
	}
	values[ev.key] = ev.value
	return nil
}
