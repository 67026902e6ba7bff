package proxy

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/proxy/dataplane"
	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
)

const (
	// applyEvery bounds how often the kernel is written to: the first change at once, bursts together.
	applyEvery = 50 * time.Millisecond
	minRetry   = 200 * time.Millisecond
	maxRetry   = 30 * time.Second
)

// programmed is what was last acknowledged of a Service.
type programmed struct {
	revision int64
	err      string
}

// loop owns the cluster's copy and the dataplane. It returns when ctx ends.
func (p *Proxy) loop(ctx context.Context, in <-chan news) {
	apply, maintain := time.NewTimer(0), time.NewTimer(time.Second)
	defer apply.Stop()
	defer maintain.Stop()
	if !apply.Stop() {
		<-apply.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-in:
			// After a failure news may be the cure, so they do not wait for the retry.
			if waiting := p.pending; p.hear(n) && (!waiting || p.failures > 0) {
				apply.Reset(max(0, applyEvery-time.Since(p.lastApply)))
			}
			continue
		case <-apply.C:
			p.apply(ctx)
		case <-maintain.C:
			maintain.Reset(p.maintain(ctx))
		}
		if p.pending {
			apply.Reset(p.retryAfter())
		}
	}
}

// hear takes news over and tells whether it asks for an Apply.
func (p *Proxy) hear(n news) bool {
	if n.message == nil {
		p.session, p.acked, p.ackedTo = n.session, map[dataplane.ServiceKey]programmed{}, 0
		p.cluster.beginSnapshot()
		return false
	}
	if n.session != p.session {
		return false
	}
	if err := p.cluster.take(n.message); err != nil {
		p.log.Error("object could not be read", zap.Error(err))
	}
	// Before the first snapshot is whole, what is missing from it would be taken for removed.
	p.pending = p.cluster.complete
	return p.pending
}

func (p *Proxy) retryAfter() time.Duration {
	if p.failures == 0 {
		return applyEvery
	}
	d := min(minRetry<<min(p.failures-1, 10), maxRetry)
	return d/2 + rand.N(d)
}

// apply brings the kernel to the newest state and acknowledges it.
func (p *Proxy) apply(ctx context.Context) {
	p.lastApply, p.pending = time.Now(), false
	var extra []dataplane.VirtualServer
	if p.dns != nil {
		p.dns.place(p.cluster.view.LocalPods)
		extra = p.dns.servers()
	}
	state, conflicts, changed := p.cluster.state(extra)
	p.name(changed)
	revision := p.cluster.revision
	err := p.plane.Apply(ctx, state)
	p.metrics.applied(time.Since(p.lastApply), len(state.Servers), err)
	failed := map[dataplane.ServiceKey]error{}
	for key, conflict := range conflicts {
		failed[key] = conflict
	}
	serverErrors := dataplane.ServerErrors(err)
	for _, e := range serverErrors {
		failed[e.Service] = e
	}
	if err != nil {
		p.pending, p.failures = true, p.failures+1
		if ctx.Err() == nil {
			p.log.Warn("Services could not be programmed, trying again", zap.Error(err), zap.Int("failures", p.failures))
		}
	} else {
		p.failures = 0
	}
	if err != nil && len(serverErrors) == 0 {
		return
	}
	p.report(failed)
	p.acknowledge(revision, failed)
}

// name gives the node's DNS what changed.
func (p *Proxy) name(changed []dataplane.ServiceKey) {
	if p.dns == nil {
		return
	}
	for _, key := range changed {
		if s := p.cluster.services[key]; s != nil {
			p.dns.server.SetService(key, s.object, s.ordered())
		} else {
			p.dns.server.SetService(key, nil, nil)
		}
	}
	p.dns.server.SetSynced()
}

// report writes an Event on each Service that has begun to fail.
func (p *Proxy) report(failed map[dataplane.ServiceKey]error) {
	for key := range p.reported {
		if failed[key] == nil {
			delete(p.reported, key)
		}
	}
	for key, err := range failed {
		text := err.Error()
		s := p.cluster.services[key]
		if p.reported[key] == text || s == nil || s.object == nil {
			continue
		}
		p.reported[key] = text
		if p.config.Events != nil {
			p.config.Events.Event(s.object, corev1.EventTypeWarning, "FailedToProgramService", "node %s: %s", p.config.NodeName, text)
		}
	}
}

// acknowledge tells the control plane what changed in what is programmed.
func (p *Proxy) acknowledge(revision int64, failed map[dataplane.ServiceKey]error) {
	if p.session == nil || p.cluster.snapshot != nil {
		return
	}
	var news []*nodev1.ProgrammedService
	for key, s := range p.cluster.services {
		if s.object == nil {
			continue
		}
		now := programmed{revision: s.revision}
		if err := failed[key]; err != nil {
			now.err = err.Error()
		}
		if p.acked[key] != now {
			p.acked[key] = now
			news = append(news, &nodev1.ProgrammedService{Namespace: key.Namespace, Name: key.Name, Revision: now.revision, Error: now.err})
		}
	}
	for key := range p.acked {
		if s := p.cluster.services[key]; s == nil || s.object == nil {
			delete(p.acked, key)
		}
	}
	if len(news) > 0 || revision != p.ackedTo {
		p.ackedTo = revision
		p.session.acknowledge(revision, news)
	}
}

func (p *Proxy) maintain(ctx context.Context) time.Duration {
	again, err := p.plane.Maintain(ctx)
	switch {
	case errors.Is(err, dataplane.ErrLost):
		p.log.Warn("putting Services back", zap.Error(err))
		p.pending = p.cluster.complete
	case err != nil && ctx.Err() == nil:
		p.log.Warn("maintenance of the dataplane", zap.Error(err))
	}
	return max(again, time.Second)
}
