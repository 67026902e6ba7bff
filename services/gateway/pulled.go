package gateway

import (
	"context"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/h2"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/gateway/media"
)

// pulled is a watch of an API service in this process over HTTP/2: the goroutine that sends for the connection asks it
// for events, so that it costs no goroutine and, while nothing happens, no buffer.
type pulled struct {
	ctx    context.Context
	source transport.Source
	format media.Type
	end    func()
	// events are those that the source gave and that are not sent.
	events []*apiv1.WatchEvent
	behind bool // the source has more
	over   bool // it has ended
	// rest is what is left of an event that did not fit.
	rest []byte
}

var _ h2.Source = (*pulled)(nil)

// Append implements h2.Source.
func (p *pulled) Append(b []byte, n int) ([]byte, h2.State) {
	if n == 0 && p.ctx.Err() != nil {
		return b, h2.Done // for a client that takes nothing it is over, too
	}
	limit, fresh := len(b)+n, false
	for {
		b = p.appendRest(b, limit)
		for len(p.events) > 0 && len(p.rest) == 0 && len(b) < limit {
			b = p.appendFirst(b, limit)
		}
		switch {
		case len(p.rest) > 0 || len(p.events) > 0:
			return b, h2.More
		case p.over:
			return b, h2.Done
		case n > 0 && len(b) == limit:
			return b, h2.More
		case fresh && !p.behind:
			return b, h2.Waiting
		}
		// What the source said before this call counts no more: this call may be the answer to its waking up.
		if fresh = true; !p.poll() {
			return b, h2.Waiting
		}
	}
}

// poll asks the source, and reports whether that changed anything.
func (p *pulled) poll() bool {
	m, behind, err := p.source.Poll()
	p.behind = behind
	switch {
	case err != nil:
		p.over = true
		if last := lastEvent(p.format, err); last != nil {
			p.events = []*apiv1.WatchEvent{last}
		}
	case m == nil:
		return false
	default:
		p.events = m.(*apiv1.WatchResponse).GetEvents()
	}
	return true
}

// appendFirst appends the next event, or what there is room for.
func (p *pulled) appendFirst(b []byte, limit int) []byte {
	const frame = 512 // more than what is around an object
	ev := p.events[0]
	p.events[0] = nil // an idle watch holds no event
	p.events = p.events[1:]
	into, whole := b, len(b)+len(ev.GetObject().GetData())+frame <= limit
	if !whole {
		into = nil
	}
	out, err := appendEvent(into, p.format, ev)
	switch {
	case err != nil:
		p.events, p.over = nil, true
		return b
	case whole:
		return out
	}
	p.rest = out
	return p.appendRest(b, limit)
}

func (p *pulled) appendRest(b []byte, limit int) []byte {
	n := min(len(p.rest), limit-len(b))
	b = append(b, p.rest[:n]...)
	if p.rest = p.rest[n:]; len(p.rest) == 0 {
		p.rest = nil
	}
	return b
}

// Stop implements h2.Source.
func (p *pulled) Stop() {
	p.end()
	p.source.Close()
}
