package node

import (
	"sync"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
)

// Acks is what the connected nodes have acknowledged. It is safe for concurrent use.
type Acks struct {
	mu    sync.RWMutex
	nodes map[ackKey]*session
	// changed is closed, and replaced, whenever anything is acknowledged or a node comes or goes; onChange is called then.
	changed  chan struct{}
	onChange func()
}

type ackKey struct {
	node  string
	scope nodev1.Scope
}

// session is one stream's acknowledgements.
type session struct {
	acks     *Acks
	key      ackKey
	revision int64
	services map[ServiceName]Programmed
}

// ServiceName names a Service.
type ServiceName struct{ Namespace, Name string }

// Programmed is what a node has made of a Service.
type Programmed struct {
	// Revision is the newest among the Service and its EndpointSlices that the node has programmed.
	Revision int64
	// Error says why the newest could not be programmed; empty when it was.
	Error string
}

func newAcks(onChange func()) *Acks {
	return &Acks{nodes: map[ackKey]*session{}, changed: make(chan struct{}), onChange: onChange}
}

// Pods returns the revision up to which a node knows its pods; ok is false for a node that is not connected.
func (a *Acks) Pods(node string) (revision int64, ok bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	s := a.nodes[ackKey{node, nodev1.Scope_SCOPE_PODS}]
	if s == nil {
		return 0, false
	}
	return s.revision, true
}

// Service returns what each connected proxy has programmed of a Service, by node. Nodes that have said nothing about it
// are there with the zero value.
func (a *Acks) Service(name ServiceName) map[string]Programmed {
	a.mu.RLock()
	defer a.mu.RUnlock()
	out := map[string]Programmed{}
	for key, s := range a.nodes {
		if key.scope == nodev1.Scope_SCOPE_SERVICES {
			out[key.node] = s.services[name]
		}
	}
	return out
}

// ServiceAt reports whether every connected proxy has programmed a Service as of a revision, or failed to.
func (a *Acks) ServiceAt(name ServiceName, revision int64) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for key, s := range a.nodes {
		if key.scope == nodev1.Scope_SCOPE_SERVICES && s.services[name].Revision < revision {
			return false
		}
	}
	return true
}

// Changed returns a channel that is closed at the next change of anything.
func (a *Acks) Changed() <-chan struct{} {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.changed
}

func (a *Acks) notify() {
	close(a.changed)
	a.changed = make(chan struct{})
	a.onChange()
}

// open begins a stream's acknowledgements; a newer stream of the same node takes the place of an older one.
func (a *Acks) open(node string, scope nodev1.Scope) *session {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := &session{acks: a, key: ackKey{node, scope}, services: map[ServiceName]Programmed{}}
	a.nodes[s.key] = s
	a.notify()
	return s
}

func (s *session) close() {
	s.acks.mu.Lock()
	defer s.acks.mu.Unlock()
	if s.acks.nodes[s.key] == s {
		delete(s.acks.nodes, s.key)
		s.acks.notify()
	}
}

func (s *session) record(ack *nodev1.Acknowledgement) {
	s.acks.mu.Lock()
	defer s.acks.mu.Unlock()
	s.revision = max(s.revision, ack.GetRevision())
	for _, p := range ack.GetServices() {
		s.services[ServiceName{p.GetNamespace(), p.GetName()}] = Programmed{Revision: p.GetRevision(), Error: p.GetError()}
	}
	s.acks.notify()
}
