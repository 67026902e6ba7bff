package node

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
)

// feed is what a stream must look at again. The hub marks, the stream takes.
type feed struct {
	node  string
	scope nodev1.Scope

	mu    sync.Mutex
	dirty map[ref]struct{}
	// resync are kinds of which everything must be looked at.
	resync map[schema.GroupVersionKind]bool
	// used are the dependents that the node's pods use, by how many pods.
	used  map[ref]int
	ended bool

	wake chan struct{}
}

func newFeed(node string, scope nodev1.Scope) *feed {
	return &feed{node: node, scope: scope, dirty: map[ref]struct{}{}, resync: map[schema.GroupVersionKind]bool{}, used: map[ref]int{}, wake: make(chan struct{}, 1)}
}

func (f *feed) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *feed) mark(r ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dirty[r] = struct{}{}
	f.signal()
}

func (f *feed) markUsed(r ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.used[r] > 0 {
		f.dirty[r] = struct{}{}
		f.signal()
	}
}

func (f *feed) markKind(gvk schema.GroupVersionKind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resync[gvk] = true
	f.signal()
}

func (f *feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.signal()
}

// take returns what is marked and unmarks it.
func (f *feed) take() (dirty map[ref]struct{}, resync map[schema.GroupVersionKind]bool, ended bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	dirty, resync, ended = f.dirty, f.resync, f.ended
	f.dirty, f.resync = map[ref]struct{}{}, map[schema.GroupVersionKind]bool{}
	return dirty, resync, ended
}

// use counts a pod's dependents in and those that it used before out. It returns what nobody used before, and what
// nobody uses any more.
func (f *feed) use(now, before []ref) (fresh, gone []ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range now {
		if f.used[r]++; f.used[r] == 1 {
			fresh = append(fresh, r)
		}
	}
	for _, r := range before {
		if f.used[r]--; f.used[r] <= 0 {
			delete(f.used, r)
			gone = append(gone, r)
		}
	}
	return fresh, gone
}

func (f *feed) uses(r ref) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used[r] > 0
}
