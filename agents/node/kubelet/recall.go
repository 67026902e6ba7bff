package kubelet

import (
	"maps"
	"sync"
	"time"
)

// recall remembers answers for a while, and only so many.
type recall[K comparable, V any] struct {
	mu      sync.Mutex
	answers map[K]answer[V]
}

type answer[V any] struct {
	value V
	until time.Time
}

func newRecall[K comparable, V any]() *recall[K, V] {
	return &recall[K, V]{answers: map[K]answer[V]{}}
}

func (r *recall[K, V]) get(key K) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.answers[key]
	return a.value, ok && time.Now().Before(a.until)
}

func (r *recall[K, V]) put(key K, value V, valid time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if len(r.answers) >= remembered {
		maps.DeleteFunc(r.answers, func(_ K, a answer[V]) bool { return now.After(a.until) })
	}
	if len(r.answers) >= remembered {
		clear(r.answers)
	}
	r.answers[key] = answer[V]{value, now.Add(valid)}
}
