// Package queue orders the pods that wait for a node: by priority, then by age. Pods that did not fit wait until
// something changes that may make them fit, and then for a backoff. It is owned by one goroutine: nothing here locks.
package queue

import (
	"container/heap"
	"time"

	"karve.dev/karve/internal/informer"
	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/snapshot"
)

// Backoff after failed attempts doubles from the first to the last of these; Kubernetes' defaults.
const (
	firstBackoff = time.Second
	lastBackoff  = 10 * time.Second
)

// Item is one waiting pod.
type Item struct {
	Key      informer.Key
	Pod      *snapshot.Pod
	Attempts int

	added     time.Time
	notBefore time.Time
	wakes     framework.Change // set while parked
	parked    bool
	index     int
}

// Queue holds each waiting pod once.
type Queue struct {
	items   map[informer.Key]*Item
	ready   readyHeap
	backoff backoffHeap
	parked  map[informer.Key]*Item
}

// New returns an empty queue.
func New() *Queue {
	return &Queue{items: map[informer.Key]*Item{}, parked: map[informer.Key]*Item{}}
}

// Len returns how many pods wait, in whatever state.
func (q *Queue) Len() int { return len(q.items) }

// Set adds a pod or takes over its new version, which is worth an attempt at once.
func (q *Queue) Set(key informer.Key, pod *snapshot.Pod, now time.Time) {
	it := q.items[key]
	if it == nil {
		it = &Item{Key: key, added: now, index: -1}
		q.items[key] = it
	}
	if it.Pod != nil && it.Pod.Object.UID != pod.Object.UID {
		it.added, it.Attempts = now, 0
	}
	it.Pod = pod
	q.detach(it)
	q.wait(it, now)
}

// Refresh replaces what is known of a waiting pod without giving it another attempt; it tells whether the pod waits.
func (q *Queue) Refresh(key informer.Key, pod *snapshot.Pod) bool {
	it := q.items[key]
	if it == nil || it.Pod.Object.UID != pod.Object.UID {
		return false
	}
	it.Pod = pod
	if !it.parked && it.index >= 0 && it.notBefore.IsZero() {
		heap.Fix(&q.ready, it.index)
	}
	return true
}

// Get returns a waiting pod, nil if it does not wait.
func (q *Queue) Get(key informer.Key) *Item { return q.items[key] }

// Remove forgets a pod.
func (q *Queue) Remove(key informer.Key) {
	if it := q.items[key]; it != nil {
		q.detach(it)
		delete(q.items, key)
	}
}

// Pop takes out the next pod to try. With none, it returns how long until there is one; 0 for unknown.
func (q *Queue) Pop(now time.Time) (*Item, time.Duration) {
	for len(q.backoff) > 0 && !q.backoff[0].notBefore.After(now) {
		it := heap.Pop(&q.backoff).(*Item)
		it.notBefore = time.Time{}
		heap.Push(&q.ready, it)
	}
	if len(q.ready) > 0 {
		it := heap.Pop(&q.ready).(*Item)
		delete(q.items, it.Key)
		it.Attempts++
		return it, 0
	}
	if len(q.backoff) > 0 {
		return nil, max(q.backoff[0].notBefore.Sub(now), time.Millisecond)
	}
	return nil, 0
}

// Park puts a pod that did not fit aside until one of the changes in wakes.
func (q *Queue) Park(it *Item, wakes framework.Change, now time.Time) {
	if q.items[it.Key] != nil {
		return // a newer version came in while it was tried
	}
	it.notBefore, it.wakes, it.parked, it.index = now.Add(backoffFor(it.Attempts)), wakes, true, -1
	q.items[it.Key], q.parked[it.Key] = it, it
}

// Retry puts a pod back for another attempt after its backoff.
func (q *Queue) Retry(it *Item, now time.Time) {
	if q.items[it.Key] != nil {
		return
	}
	it.notBefore, it.index = now.Add(backoffFor(it.Attempts)), -1
	q.items[it.Key] = it
	q.wait(it, now)
}

// Wake gives every parked pod that waits for one of changes another attempt, not before its backoff is over.
func (q *Queue) Wake(changes framework.Change, now time.Time) {
	for _, it := range q.parked {
		if it.wakes&changes == 0 {
			continue
		}
		delete(q.parked, it.Key)
		it.parked = false
		q.wait(it, now)
	}
}

// WakeUsers gives every parked pod that waits for storage and uses one of claims another attempt at once: that is what
// it waits for, so there is nothing to back off from.
func (q *Queue) WakeUsers(claims map[informer.Key]bool, now time.Time) {
	for _, it := range q.parked {
		if it.wakes&framework.StorageChanged == 0 || !uses(it, claims) {
			continue
		}
		delete(q.parked, it.Key)
		it.parked, it.notBefore = false, time.Time{}
		q.wait(it, now)
	}
}

func uses(it *Item, claims map[informer.Key]bool) bool {
	for _, name := range it.Pod.Claims {
		if claims[informer.Key{Namespace: it.Key.Namespace, Name: name}] {
			return true
		}
	}
	return false
}

func (q *Queue) wait(it *Item, now time.Time) {
	if it.notBefore.After(now) {
		heap.Push(&q.backoff, it)
		return
	}
	it.notBefore = time.Time{}
	heap.Push(&q.ready, it)
}

// detach takes an item out of whichever place it waits in.
func (q *Queue) detach(it *Item) {
	switch {
	case it.parked:
		delete(q.parked, it.Key)
		it.parked, it.notBefore = false, time.Time{}
	case it.index < 0:
	case it.notBefore.IsZero():
		heap.Remove(&q.ready, it.index)
	default:
		heap.Remove(&q.backoff, it.index)
	}
	it.index = -1
}

func backoffFor(attempts int) time.Duration {
	d := firstBackoff
	for i := 1; i < attempts && d < lastBackoff; i++ {
		d *= 2
	}
	return min(d, lastBackoff)
}

type readyHeap []*Item

func (h readyHeap) Len() int { return len(h) }
func (h readyHeap) Less(i, j int) bool {
	if a, b := h[i].Pod.Priority(), h[j].Pod.Priority(); a != b {
		return a > b
	}
	return h[i].added.Before(h[j].added)
}
func (h readyHeap) Swap(i, j int) { swap(h, i, j) }
func (h *readyHeap) Push(x any)   { push((*[]*Item)(h), x) }
func (h *readyHeap) Pop() any     { return pop((*[]*Item)(h)) }

type backoffHeap []*Item

func (h backoffHeap) Len() int           { return len(h) }
func (h backoffHeap) Less(i, j int) bool { return h[i].notBefore.Before(h[j].notBefore) }
func (h backoffHeap) Swap(i, j int)      { swap(h, i, j) }
func (h *backoffHeap) Push(x any)        { push((*[]*Item)(h), x) }
func (h *backoffHeap) Pop() any          { return pop((*[]*Item)(h)) }

func swap(h []*Item, i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func push(h *[]*Item, x any) {
	it := x.(*Item)
	it.index = len(*h)
	*h = append(*h, it)
}

func pop(h *[]*Item) any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	it.index = -1
	return it
}
