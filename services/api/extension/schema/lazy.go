package schema

import (
	"sync"
	"sync/atomic"
)

// lazy is a value that is made when it is first needed, and again after it was forgotten. Errors are not kept.
type lazy[T any] struct {
	value atomic.Pointer[T]
	mu    sync.Mutex // held while it is made
}

func (l *lazy[T]) get(build func() (T, error)) (T, error) {
	if v := l.value.Load(); v != nil {
		return *v, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if v := l.value.Load(); v != nil {
		return *v, nil
	}
	made, err := build()
	if err == nil {
		l.value.Store(&made)
	}
	return made, err
}

func (l *lazy[T]) forget() { l.value.Store(nil) }
