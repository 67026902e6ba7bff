package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// State is where a component is in its life.
type State string

// A component starts, becomes ready, may fail and recover, and stops.
const (
	Starting State = "starting"
	Ready    State = "ready"
	Failing  State = "failing"
	Stopped  State = "stopped"
)

// Status is one component's health.
type Status struct {
	Name  string
	State State
	// Reason says why, in words for people; empty when ready.
	Reason string
	// Since is when State was entered.
	Since time.Time
}

// Health knows how the components of this process are. It is safe for concurrent use.
type Health struct {
	mu       sync.Mutex
	statuses []Status
	changed  chan struct{}
}

// NewHealth returns a Health without components.
func NewHealth() *Health { return &Health{changed: make(chan struct{})} }

// Set notes a component's state; the first call for a name adds it.
func (h *Health) Set(name string, state State, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.statuses, func(s Status) bool { return s.Name == name })
	if i < 0 {
		i = len(h.statuses)
		h.statuses = append(h.statuses, Status{Name: name})
	}
	s := &h.statuses[i]
	if s.State == state && s.Reason == reason {
		return
	}
	if s.State != state {
		s.Since = time.Now()
	}
	s.State, s.Reason = state, reason
	close(h.changed)
	h.changed = make(chan struct{})
}

// List returns all components in the order in which they were added.
func (h *Health) List() []Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.statuses)
}

// Err returns nil when every component is ready, else what is not and why.
func (h *Health) Err() error {
	var errs []error
	for _, s := range h.List() {
		if s.State != Ready {
			errs = append(errs, s.err())
		}
	}
	return errors.Join(errs...)
}

func (s Status) err() error {
	if s.Reason == "" {
		return fmt.Errorf("%s is %s", s.Name, s.State)
	}
	return fmt.Errorf("%s is %s: %s", s.Name, s.State, s.Reason)
}

// Wait blocks until every component that is known is ready.
func (h *Health) Wait(ctx context.Context) error {
	for {
		h.mu.Lock()
		changed := h.changed
		h.mu.Unlock()
		err := h.Err()
		if err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}
