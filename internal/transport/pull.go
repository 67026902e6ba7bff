package transport

import (
	"encoding/binary"
	"errors"
	"io"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"karve.dev/karve/internal/h2"
)

// Encoded is a Source that writes its messages itself, where one is like another's.
type Encoded interface {
	Source
	// AppendMessage appends the next message in its wire form, of about so many bytes at most. It appends nothing when there
	// is none now. Its errors are those of Poll.
	AppendMessage(b []byte, about int) ([]byte, error)
}

// pulledCall is the rest of a call whose handler has left a source. The goroutine that sends for the connection asks it.
type pulledCall struct {
	call   *wireCall
	source Source
	// rest is what is left of a message that did not fit.
	rest []byte
	over bool
	err  error
}

var _ h2.Trailed = (*pulledCall)(nil)

// leastMessage is how large a message may get although there is less room: what does not fit waits in rest.
const leastMessage = 512

// Append implements h2.Source.
func (p *pulledCall) Append(b []byte, n int) ([]byte, h2.State) {
	if n == 0 {
		if err := p.call.ctx.Err(); err != nil {
			p.err = err
			return b, h2.Done // for a client that takes nothing it is over, too
		}
		return b, h2.Waiting
	}
	for limit := len(b) + n; ; {
		k := min(len(p.rest), limit-len(b))
		b = append(b, p.rest[:k]...)
		if p.rest = p.rest[k:]; len(p.rest) > 0 {
			return b, h2.More
		}
		p.rest = nil
		switch {
		case p.over:
			return b, h2.Done
		case len(b) == limit:
			return b, h2.More
		}
		var some bool
		if b, some = p.appendNext(b, limit); !some && !p.over {
			return b, h2.Waiting
		}
	}
}

// appendNext appends the next message, or what there is room for, and reports whether there was one.
func (p *pulledCall) appendNext(b []byte, limit int) ([]byte, bool) {
	begin := len(b)
	out, err := p.message(append(b, make([]byte, prefixSize)...), max(limit-begin, leastMessage)-prefixSize)
	if err != nil {
		if p.over = true; !errors.Is(err, io.EOF) {
			p.err = err
		}
		return b, false
	}
	size := len(out) - begin - prefixSize
	if size == 0 {
		return b, false
	}
	binary.BigEndian.PutUint32(out[begin+1:], uint32(size))
	if len(out) > limit {
		p.rest = append([]byte(nil), out[limit:]...)
		out = out[:limit]
	}
	return out, true
}

func (p *pulledCall) message(b []byte, about int) ([]byte, error) {
	if e, ok := p.source.(Encoded); ok {
		return e.AppendMessage(b, about)
	}
	m, _, err := p.source.Poll()
	if m == nil || err != nil {
		return b, err
	}
	return appendMessage(b, m)
}

// Trailer implements h2.Trailed.
func (p *pulledCall) Trailer() http.Header {
	if !p.over && p.err == nil {
		p.err = status.Error(codes.Internal, "the stream has broken off") // its source has panicked
	}
	return p.call.trailer(p.err)
}

// Stop implements h2.Source.
func (p *pulledCall) Stop() {
	p.call.cancel()
	p.source.Close()
}
