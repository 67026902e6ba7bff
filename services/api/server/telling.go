package server

import (
	"cmp"
	"context"
	"errors"
	"io"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api/watch"
)

// telling is a watch that is under way.
type telling struct {
	s      *Server
	ctx    context.Context
	cancel context.CancelFunc
	w      *watch.Watcher
	e      *eventEncoder
	res    apiv1.WatchResponse
	over   bool
	// pending are events that did not fit into the message before.
	pending []watch.Event
	// ended is set with ctx: to ask a context that is nested deep is dear when hundreds are polled for one change.
	ended atomic.Bool
}

var _ transport.Encoded = (*telling)(nil)

// pump sends until the watch ends.
func (t *telling) pump(stream grpc.ServerStreamingServer[apiv1.WatchResponse]) error {
	for !t.over {
		events, err := t.w.Next(t.ctx)
		res, err := t.answer(events, err, &apiv1.WatchResponse{})
		if res == nil {
			return err
		}
		if err := stream.Send(res); err != nil {
			return err
		}
	}
	return nil
}

// Poll implements transport.Source.
func (t *telling) Poll() (m any, behind bool, err error) {
	if t.over || t.ended.Load() {
		return nil, false, io.EOF
	}
	events, behind, err := t.w.Poll()
	if err == nil && len(events) == 0 {
		return nil, false, nil
	}
	t.res.Events = t.res.Events[:0]
	res, err := t.answer(events, err, &t.res)
	if res == nil {
		if err == nil {
			err = io.EOF
		}
		return nil, false, err
	}
	return res, behind || t.over, nil
}

// Close implements transport.Source.
func (t *telling) Close() {
	t.w.Stop()
	t.cancel()
}

// answer makes what the client is told of the next events, or of what ended the watch; nil: nothing, the watch is over.
func (t *telling) answer(events []watch.Event, err error, res *apiv1.WatchResponse) (*apiv1.WatchResponse, error) {
	switch {
	case err == nil:
	case t.ctx.Err() != nil, errors.Is(err, watch.ErrClosed), errors.Is(err, watch.ErrSlow):
		// The client resumes from the last event that it got.
		return nil, nil
	default:
		t.over = true
		last, err := t.e.failure(t.s.cacheError(err))
		if err != nil {
			return nil, err
		}
		res.Events = append(res.Events, last)
		return res, nil
	}
	if res.Events == nil {
		res.Events = make([]*apiv1.WatchEvent, 0, len(events))
	}
	for i := range events {
		ev, err := t.e.encode(&events[i])
		if err != nil {
			return nil, err
		}
		res.Events = append(res.Events, ev.event)
	}
	return res, nil
}

// AppendMessage implements transport.Encoded: hundreds may watch the same objects, and what they are told is encoded once.
func (t *telling) AppendMessage(b []byte, about int) ([]byte, error) {
	if len(t.pending) == 0 {
		if t.over || t.ended.Load() {
			return b, io.EOF
		}
		var err error
		if t.pending, _, err = t.w.Poll(); err != nil {
			return t.appendLast(b, err)
		}
	}
	for begin := len(b); len(t.pending) > 0; {
		ev, err := t.e.encode(&t.pending[0])
		if err != nil {
			return b, err
		}
		wire, err := ev.encoded()
		if err != nil {
			return b, err
		}
		if size := len(b) - begin; size > 0 && size+len(wire) > about {
			break
		}
		b = append(b, wire...)
		t.pending[0] = watch.Event{} // an idle watch holds no event
		t.pending = t.pending[1:]
	}
	return b, nil
}

// appendLast appends what tells the client why its watch ends.
func (t *telling) appendLast(b []byte, err error) ([]byte, error) {
	res, err := t.answer(nil, err, &apiv1.WatchResponse{})
	if res == nil {
		return b, cmp.Or(err, io.EOF)
	}
	return proto.MarshalOptions{}.MarshalAppend(b, res)
}
