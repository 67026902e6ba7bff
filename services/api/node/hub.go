package node

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/services/api/watch"
)

// fieldNodeName is the pods' field, indexed by the cache, that says where a pod runs.
const fieldNodeName = "spec.nodeName"

// hub follows every watched kind once and marks, in the streams concerned, what they must look at again.
type hub struct {
	kinds map[schema.GroupVersionKind]*followed

	mu sync.RWMutex
	// pods are the streams of pods by node, services those of Services.
	pods     map[string]map[*feed]struct{}
	services map[*feed]struct{}
	closed   bool
	nodes    nodeViews
	// drains are the streams that wait for the proxies.
	drains drains
}

// followed is one kind and how far the hub has marked its changes.
type followed struct {
	gvk        schema.GroupVersionKind
	collection *watch.Collection

	mu       sync.Mutex
	revision int64
}

func newHub() *hub {
	return &hub{kinds: map[schema.GroupVersionKind]*followed{}, pods: map[string]map[*feed]struct{}{}, services: map[*feed]struct{}{}, nodes: nodeViews{}}
}

func (f *followed) reach(revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revision = max(f.revision, revision)
}

func (f *followed) reached() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision
}

// add makes the hub mark changes in a feed; false after the hub has closed.
func (h *hub) add(f *feed) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	if f.scope == nodev1.Scope_SCOPE_SERVICES {
		h.services[f] = struct{}{}
		return true
	}
	if h.pods[f.node] == nil {
		h.pods[f.node] = map[*feed]struct{}{}
	}
	h.pods[f.node][f] = struct{}{}
	return true
}

func (h *hub) remove(f *feed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.services, f)
	delete(h.pods[f.node], f)
	if len(h.pods[f.node]) == 0 {
		delete(h.pods, f.node)
	}
}

// close ends all feeds.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.each(func(f *feed) { f.end() })
}

// each calls fn for every feed. h.mu is held.
func (h *hub) each(fn func(*feed)) {
	for f := range h.services {
		fn(f)
	}
	for _, feeds := range h.pods {
		for f := range feeds {
			fn(f)
		}
	}
}

// follow marks what changes of one kind until ctx ends. When its watch breaks, everything of the kind is marked.
func (h *hub) follow(ctx context.Context, k *followed) error {
	// What is there now every stream has read for itself when it began: the first watch needs no initial events.
	for again := false; ; again = true {
		w, err := k.collection.Watch(ctx, watch.WatchOptions{SendInitial: true, InitialEnd: true, Bookmarks: true})
		if err == nil {
			if again {
				h.markKind(k.gvk)
			}
			err = h.consume(ctx, k, w)
		}
		switch {
		case ctx.Err() != nil || errors.Is(err, watch.ErrClosed):
			return nil
		case errors.Is(err, watch.ErrSlow) || errors.Is(err, watch.ErrExpired):
		default:
			return fmt.Errorf("watch %s for the nodes: %w", k.gvk.Kind, err)
		}
	}
}

func (h *hub) consume(ctx context.Context, k *followed, w *watch.Watcher) error {
	defer w.Stop()
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		h.mark(k.gvk, events)
		k.reach(events[len(events)-1].Revision)
	}
}

func (h *hub) mark(gvk schema.GroupVersionKind, events []watch.Event) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for i := range events {
		e := events[i].Entry
		if e == nil {
			continue
		}
		r := ref{gvk, e.Namespace, e.Name}
		switch gvk {
		case kindPod:
			for f := range h.pods[e.Fields().Get(fieldNodeName)] {
				f.mark(r)
			}
		case kindService:
			for f := range h.services {
				f.mark(r)
			}
			for _, feeds := range h.pods {
				for f := range feeds {
					f.markLinked(r)
				}
			}
		case kindSlice:
			for f := range h.services {
				f.mark(r)
			}
			h.drains.signal()
		case kindNode:
			if h.nodes.changed(e, events[i].Type == watch.Deleted) {
				for f := range h.services {
					f.mark(r)
				}
			}
			for f := range h.pods[e.Name] {
				f.mark(r)
			}
		case kindVolume:
			for f := range h.pods[keeper(e)] {
				f.mark(r)
			}
			h.markUsers(r)
		default:
			h.markUsers(r)
		}
	}
}

// markUsers marks an object in the feeds whose pods use it.
func (h *hub) markUsers(r ref) {
	for _, feeds := range h.pods {
		for f := range feeds {
			f.markUsed(r)
		}
	}
}

// markKind makes every feed look at all of a kind again.
func (h *hub) markKind(gvk schema.GroupVersionKind) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	h.each(func(f *feed) { f.markKind(gvk) })
}
