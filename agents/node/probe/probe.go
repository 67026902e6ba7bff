// Package probe checks the health of containers. One goroutine keeps the time of all probes of a node in a heap; a
// probe costs a goroutine only while it runs, and only so many run at once.
package probe

import (
	"container/heap"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/podstate"
)

// atOnce bounds the probes that run at the same time.
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
}

// Manager probes containers until they are removed. Its methods are safe for concurrent use.
type Manager struct {
	slots chan struct{}
	wake  chan struct{}

	mu       sync.Mutex
	queue    queue
	subjects map[string]*subject // by UID and container name
	running  sync.WaitGroup
}

// New returns a manager; Run makes it work.
func New() *Manager {
	return &Manager{slots: make(chan struct{}, atOnce), wake: make(chan struct{}, 1), subjects: map[string]*subject{}}
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
	for _, k := range kinds {
		if p := k.get(t.Spec); p != nil && (k.name != "startup" || !s.health.Started) {
			due := t.Started.Add(seconds(p.InitialDelaySeconds))
			heap.Push(&m.queue, &job{subject: s, kind: k, probe: p, due: due, regular: due, begins: due, hurry: firstHurry})
		}
	}
	m.nudge()
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

func (m *Manager) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Run probes until ctx ends, then waits for the probes under way.
func (m *Manager) Run(ctx context.Context) error {
	defer m.running.Wait()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next, wait := m.next(time.Now())
		if next == nil {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-m.wake:
			case <-ctx.Done():
				return nil
			}
			continue
		}
		select {
		case m.slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		m.running.Add(1)
		go func() {
			defer m.running.Done()
			defer func() { <-m.slots }()
			m.probe(ctx, next)
		}()
	}
}

// next takes the job that is due, or tells how long to wait for one.
func (m *Manager) next(now time.Time) (*job, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.queue) > 0 {
		first := m.queue[0]
		if first.removed {
			heap.Pop(&m.queue)
			continue
		}
		if wait := first.due.Sub(now); wait > 0 {
			return nil, wait
		}
		return heap.Pop(&m.queue).(*job), 0
	}
	return nil, time.Hour
}

func (m *Manager) probe(ctx context.Context, j *job) {
	// Before a container has started, only its startup probe counts.
	m.mu.Lock()
	skip := j.kind.name != "startup" && !j.health.Started
	m.mu.Unlock()
	if !skip {
		timeout := max(seconds(j.probe.TimeoutSeconds), time.Second)
		probeCtx, cancel := context.WithTimeout(ctx, timeout)
		err := check(probeCtx, j, timeout)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, errUnknown) {
			m.conclude(j, err)
		}
	}
	m.again(j)
}

// again puts a job back for its next period, unless it has done its work.
func (m *Manager) again(j *job) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if j.removed || j.health.Failed != "" || j.kind.name == "startup" && j.health.Started {
		return
	}
	now := time.Now()
	if !j.regular.After(now) {
		j.regular = j.regular.Add(j.period())
		if j.regular.Before(now) {
			j.regular = now.Add(j.period())
		}
	}
	j.due = j.regular
	if extra := now.Add(j.hurry); j.early(now) && extra.Before(j.regular) {
		j.due, j.hurry = extra, j.hurry*2
	}
	heap.Push(&m.queue, j)
	m.nudge()
}

// conclude counts a result and tells when it changes the container's health.
func (m *Manager) conclude(j *job, err error) {
	m.mu.Lock()
	extra := err != nil && j.due.Before(j.regular)
	early := j.early(time.Now())
	if j.removed || extra {
		m.mu.Unlock()
		return
	}
	before := j.health
	j.tally(err == nil)
	j.count(err == nil)
	after := j.health
	m.mu.Unlock()
	if err != nil && (!early || after.Failed != "") {
		j.Unhealthy(strings.ToUpper(j.kind.name[:1]) + j.kind.name[1:] + " probe failed: " + err.Error())
	}
	if after != before {
		j.Changed()
	}
}
