package h2

import (
	"context"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// stream is one request and its answer. conn.mu guards it, but for what is set when it begins.
type stream struct {
	conn   *conn
	id     uint32
	cancel context.CancelFunc

	// changed is told when the body grows, there is room to send, or the stream has ended.
	changed sync.Cond
	gone    bool   // no longer in conn.streams
	ended   bool   // the answer's last frame is on its way
	running bool   // its handler, or it will
	start   func() // runs the handler; nil once it does

	// in is what has come of the body and was not read; inErr what follows it.
	in             []byte
	read           int
	inErr          error
	declared, got  int64 // the body's size, -1 when unknown, and what has come
	room, taken    int   // what the client may send, and what it has not been told of
	expectContinue bool
	readBy         time.Time

	window  int // what the client takes
	waits   bool
	writeBy *time.Timer

	source Source
	queued bool // in conn.ready
	asking bool // the source works
}

func nothing() {}

// drop forgets a stream that has ended, why is nil, or that was broken off. The caller calls what it returns when it holds
// no lock any more. c.mu is held.
func (c *conn) drop(st *stream, why error) (after func()) {
	if st == nil || st.gone {
		return nothing
	}
	st.gone = true
	delete(c.streams, st.id)
	lost := len(st.in) - st.read
	c.took(nil, lost)
	st.in, st.read = nil, 0
	if st.inErr == nil || lost > 0 { // nobody may take what was read for the whole body
		st.inErr = errGone
	}
	if st.waits {
		st.waits = false
		c.waits--
	}
	if st.writeBy != nil {
		st.writeBy.Stop()
	}
	st.changed.Broadcast()
	if st.start != nil { // nobody waits for its answer any more
		st.start, st.running = nil, false
	}
	if !st.running {
		c.active--
	}
	if len(c.streams) == 0 {
		c.quietSince = time.Now()
		if c.retired {
			c.kick()
		}
	}
	if st.running {
		if why == nil {
			return nothing // its context ends when the handler returns
		}
		return st.cancel
	}
	if st.asking {
		return nothing // the sender stops it
	}
	return st.stop
}

// stop ends what a stream without a handler holds.
func (st *stream) stop() {
	st.cancel()
	if st.source != nil {
		st.source.Stop()
	}
}

// pull asks the source. A source that panics is done.
func (st *stream) pull(buf []byte, n int) (out []byte, state State) {
	begin := len(buf)
	defer func() {
		if p := recover(); p != nil {
			st.conn.log(p)
			out, state = buf[:begin], Done
		}
	}()
	return st.source.Append(buf, n)
}

// firstBody is how much room a body gets at first: what a client declares costs it nothing.
const firstBody = 16 << 10

// receive keeps what has come of the body.
func (st *stream) receive(data []byte) {
	if st.in == nil && st.declared > 0 {
		st.in = make([]byte, 0, min(int(st.declared), firstBody))
	}
	if st.read > 0 && len(st.in)+len(data) > cap(st.in) {
		st.in = st.in[:copy(st.in, st.in[st.read:])]
		st.read = 0
	}
	st.in = append(st.in, data...)
}

// body is a request's body.
type body struct{ st *stream }

// Read implements io.Reader.
func (b body) Read(p []byte) (int, error) {
	st, c := b.st, b.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.expectContinue && len(st.in) == 0 && st.inErr == nil {
		st.expectContinue = false
		c.headers(st, 100, nil, false)
	}
	if stop := st.readTimer(); stop != nil {
		defer stop()
	}
	for st.read == len(st.in) {
		if st.inErr != nil {
			return 0, st.inErr
		}
		st.changed.Wait()
	}
	n := copy(p, st.in[st.read:])
	if st.read += n; st.read == len(st.in) {
		st.in, st.read = st.in[:0], 0
		if st.inErr != nil {
			st.in = nil
		}
	}
	c.took(st, n)
	return n, nil
}

// readTimer makes a read that has to wait end at its deadline. c.mu is held.
func (st *stream) readTimer() (stop func()) {
	if st.readBy.IsZero() || st.read < len(st.in) || st.inErr != nil {
		return nil
	}
	timer := time.AfterFunc(time.Until(st.readBy), func() {
		st.conn.mu.Lock()
		defer st.conn.mu.Unlock()
		if st.inErr == nil {
			st.inErr = os.ErrDeadlineExceeded
			st.changed.Broadcast()
		}
	})
	return func() { timer.Stop() }
}

// Close implements io.Closer: what is not read is not wanted.
func (b body) Close() error {
	c := b.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took(b.st, len(b.st.in)-b.st.read)
	b.st.in, b.st.read = nil, 0
	return nil
}

var _ io.ReadCloser = body{}

// abort breaks a stream off.
func (c *conn) abort(st *stream, code http2.ErrCode) {
	c.mu.Lock()
	if st.gone || c.over {
		c.mu.Unlock()
		return
	}
	c.out = appendReset(c.buffer(), st.id, code)
	c.kick()
	after := c.drop(st, errGone)
	c.mu.Unlock()
	after()
}
