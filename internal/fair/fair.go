// Package fair shares what a server can do at once among its clients, so that one client's flood is that client's
// trouble.
package fair

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrBusy says that a request was refused because too many are waiting, or has waited for too long.
var ErrBusy = errors.New("the server is busy")

// Config bounds a Limiter.
type Config struct {
	// Running is how many requests run at once.
	Running int
	// Waiting is how many wait for their turn, of all clients together.
	Waiting int
	// Patience is how long one waits.
	Patience time.Duration
}

// Limiter bounds how many requests run at once. A free place goes to the waiting client of whose requests the fewest run.
// When too many wait, the client with the most waiting loses its latest. It is safe for concurrent use.
type Limiter struct {
	config  Config
	mu      sync.Mutex
	running int
	waiting int
	clients map[string]*client
}

// client is one that has requests here.
type client struct {
	name    string
	running int
	waiting []*ticket // in the order of their coming
	since   uint64    // when it was last served
}

// ticket is one waiting request; what becomes of it is sent once.
type ticket struct{ outcome chan error }

// New returns a Limiter.
func New(config Config) *Limiter {
	return &Limiter{config: config, clients: map[string]*client{}}
}

// Enter waits for a place for one request of a client. The caller must call leave when the request has ended. The error is
// ErrBusy or that of ctx.
func (l *Limiter) Enter(ctx context.Context, name string) (leave func(), err error) {
	c, t := l.arrive(name)
	if t == nil {
		return func() { l.leave(c) }, nil
	}
	patience := time.NewTimer(l.config.Patience)
	defer patience.Stop()
	select {
	case err = <-t.outcome:
	case <-patience.C:
		err = l.giveUp(c, t, ErrBusy)
	case <-ctx.Done():
		err = l.giveUp(c, t, ctx.Err())
	}
	if err != nil {
		return nil, err
	}
	return func() { l.leave(c) }, nil
}

// Load returns how many requests run and wait.
func (l *Limiter) Load() (running, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.running, l.waiting
}

// arrive takes a place, or a ticket when there is none.
func (l *Limiter) arrive(name string) (*client, *ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.clients[name]
	if c == nil {
		c = &client{name: name}
		l.clients[name] = c
	}
	if l.running < l.config.Running {
		l.start(c)
		return c, nil
	}
	t := &ticket{outcome: make(chan error, 1)}
	c.waiting = append(c.waiting, t)
	if l.waiting++; l.waiting > l.config.Waiting {
		l.refuseOne()
	}
	return c, t
}

func (l *Limiter) start(c *client) {
	l.running++
	c.running++
}

func (l *Limiter) leave(c *client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
	c.running--
	if next := l.next(); next != nil {
		t := next.waiting[0]
		next.waiting = next.waiting[1:]
		l.waiting--
		l.start(next)
		t.outcome <- nil
	}
	l.forget(c)
}

// next returns the waiting client of whose requests the fewest run; among equals, that whose turn was longest ago.
func (l *Limiter) next() *client {
	if l.waiting == 0 {
		return nil
	}
	var best *client
	var newest uint64
	for _, c := range l.clients {
		newest = max(newest, c.since)
		if len(c.waiting) == 0 {
			continue
		}
		if best == nil || c.running < best.running || c.running == best.running && c.since < best.since {
			best = c
		}
	}
	best.since = newest + 1
	return best
}

// refuseOne takes the latest ticket of the client that has the most.
func (l *Limiter) refuseOne() {
	var greedy *client
	for _, c := range l.clients {
		if greedy == nil || len(c.waiting) > len(greedy.waiting) {
			greedy = c
		}
	}
	last := len(greedy.waiting) - 1
	greedy.waiting[last].outcome <- ErrBusy
	greedy.waiting = greedy.waiting[:last]
	l.waiting--
	l.forget(greedy)
}

// giveUp takes a ticket back. A ticket that was called meanwhile counts: its outcome is returned instead of why.
func (l *Limiter) giveUp(c *client, t *ticket, why error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case err := <-t.outcome:
		return err
	default:
	}
	c.waiting = slices.DeleteFunc(c.waiting, func(other *ticket) bool { return other == t })
	l.waiting--
	l.forget(c)
	return why
}

func (l *Limiter) forget(c *client) {
	if c.running == 0 && len(c.waiting) == 0 {
		delete(l.clients, c.name)
	}
}
