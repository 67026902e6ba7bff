// Package probe checks the health of containers. All probes of a node stand in a heap by their time; those that fall
// together are made in one turn, which asks TCP ports and plain HTTP servers without blocking. What may block (commands,
// TLS, gRPC, names) has a goroutine while it runs, and only so many run at once.
package probe

import (
	"container/heap"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/podstate"
	"karve.dev/karve/internal/turns"
)

// atOnce bounds the probes that may block and run at the same time.
const atOnce = 64

// Exec runs a command in the probed container and returns its exit code and output.
type Exec func(ctx context.Context, command []string) (code int, output string, err error)

// Target is a running container that is to be probed.
type Target struct {
	UID  string
	Spec *corev1.Container
	ID   string
	// Host is the pod's address.
	Host    string
	Started time.Time
	Exec    Exec
	// Known is the health to begin with: what was reported before the agent restarted.
	Known podstate.Health
	// Changed is called when the health has changed (Health tells it), Unhealthy for each failed probe.
	Changed   func()
	Unhealthy func(message string)
	// Warned is called for each probe that succeeded only because it was sent elsewhere; nil when nobody wants to know.
	Warned func(message string)
}

// Manager probes containers until they are removed. Its methods are safe for concurrent use.
type Manager struct {
	group *turns.Group
	task  turns.Task
	slots chan struct{}
	open  []*exchange // of the turns

	mu       sync.Mutex
	queue    queue
	subjects map[string]*subject // by UID and container name
}

// New returns a manager that works in the group.
func New(group *turns.Group) *Manager {
	m := &Manager{group: group, slots: make(chan struct{}, atOnce), subjects: map[string]*subject{}}
	m.task.Init(group, m.turn)
	m.task.Start()
	return m
}

// Close breaks off what is under way. Nothing works in the group any more.
func (m *Manager) Close() {
	for _, x := range m.open {
		x.close()
	}
}

// subject is a container with its probes.
type subject struct {
	Target
	health  podstate.Health
	removed bool
	counts  [numKinds]Count
}

// Count is how often a probe of a container has had which result.
type Count struct {
	UID, Container, Kind string
	Succeeded, Failed    int64
}

// Counts tells of all probes that there are, in no order.
func (m *Manager) Counts() []Count {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Count
	for _, s := range m.subjects {
		for i, k := range kinds {
			if k.get(s.Spec) != nil {
				c := s.counts[i]
				c.UID, c.Container, c.Kind = s.UID, s.Spec.Name, k.name
				out = append(out, c)
			}
		}
	}
	return out
}

// Add begins to probe a container, in place of an earlier one of the same name.
func (m *Manager) Add(t Target) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := t.UID + "/" + t.Spec.Name
	if old := m.subjects[key]; old != nil {
		if old.ID == t.ID {
			return
		}
		old.removed = true
	}
	s := &subject{Target: t, health: podstate.Health{ID: t.ID}}
	if t.Known.ID == t.ID {
		s.health = t.Known
	}
	s.health.Started = s.health.Started || t.Spec.StartupProbe == nil
	m.subjects[key] = s
	now := time.Now()
	for _, k := range kinds {
		if p := k.get(t.Spec); p != nil && (k.name != "startup" || !s.health.Started) {
			due := now.Add(t.Started.Sub(now) + seconds(p.InitialDelaySeconds)) // by the clock that nobody sets
			j := &job{subject: s, kind: k, probe: p, due: due, regular: due, begins: due, hurry: firstHurry}
			j.asks = j.question()
			heap.Push(&m.queue, j)
		}
	}
	m.task.Wake()
}

// Health returns what is known about a container; the zero Health when it is not probed.
func (m *Manager) Health(uid, container string) podstate.Health {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.subjects[uid+"/"+container]; s != nil {
		return s.health
	}
	return podstate.Health{}
}

// Remove ends the probes of a container.
func (m *Manager) Remove(uid, container string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := uid + "/" + container
	if s := m.subjects[key]; s != nil {
		s.removed = true // its jobs leave the queue when they are due
		delete(m.subjects, key)
	}
}

// turn makes what is due, and returns when something is next.
func (m *Manager) turn(context.Context) time.Time {
	now := time.Now()
	m.open = m.begin(m.follow(m.open, now), now)
	return m.next()
}

// follow looks at the exchanges that are worth it, and returns those that go on.
func (m *Manager) follow(open []*exchange, now time.Time) []*exchange {
	return slices.DeleteFunc(open, func(x *exchange) bool {
		return !x.lookAt().After(now) && m.step(x, now)
	})
}

// begin makes the probes that are due, and returns the exchanges under way.
func (m *Manager) begin(open []*exchange, now time.Time) []*exchange {
	for j := m.take(now); j != nil; j = m.take(now) {
		switch {
		case m.tooEarly(j):
			m.again(j)
		case j.asks != nil:
			if x := j.asks.ask(j, now); !m.step(x, now) {
				open = append(open, x)
			}
		default:
			m.goCheck(j)
		}
	}
	return open
}

// next is when something is to do; the zero time when nothing is.
func (m *Manager) next() (at time.Time) {
	m.mu.Lock()
	if len(m.queue) > 0 {
		at = m.queue[0].due
	}
	m.mu.Unlock()
	for _, x := range m.open {
		if look := x.lookAt(); at.IsZero() || look.Before(at) {
			at = look
		}
	}
	return at
}

// step goes on with an exchange; true when it has ended.
func (m *Manager) step(x *exchange, now time.Time) bool {
	done, err := x.step(now)
	if !done && !m.dropped(x.job) {
		return false
	}
	x.close()
	if err == errRedirected {
		x.job.asks = nil // from now on it takes a client that follows
		m.goCheck(x.job)
		return true
	}
	if done {
		m.conclude(x.job, err)
	}
	m.again(x.job)
	return true
}

// goCheck makes a probe that may block, in a goroutine of its own. Only so many run at once.
func (m *Manager) goCheck(j *job) {
	m.group.Go(func(ctx context.Context) {
		select {
		case m.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		err := check(ctx, j)
		<-m.slots
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, errUnknown) {
			m.conclude(j, err)
		}
		m.again(j)
		m.task.Wake()
	})
}

// take takes the job that is due, or returns nil.
func (m *Manager) take(now time.Time) *job {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.queue) > 0 {
		first := m.queue[0]
		if !first.removed && first.due.After(now) {
			return nil
		}
		heap.Pop(&m.queue)
		if !first.removed {
			return first
		}
	}
	return nil
}

// tooEarly tells that a container has not started: until then, only its startup probe counts.
func (m *Manager) tooEarly(j *job) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return j.kind.name != "startup" && !j.health.Started
}

func (m *Manager) dropped(j *job) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return j.removed
}

// again puts a job back for its next period, unless it has done its work.
func (m *Manager) again(j *job) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if j.removed || j.health.Failed != "" || j.kind.name == "startup" && j.health.Started {
		return
	}
	j.schedule(time.Now())
	heap.Push(&m.queue, j)
}
