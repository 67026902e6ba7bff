package h2

import (
	"bytes"
	"crypto/tls"
	"runtime"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// maxOut is about how much is gathered for one write; a handler for whose bytes there is no room waits.
const maxOut = 64 << 10

// sendBuffers are the same size, so that none is made anew because it is too small.
var sendBuffers = sync.Pool{New: func() any { return new([maxOut + 2*maxFrame]byte) }}

func takeBuffer() []byte { return sendBuffers.Get().(*[maxOut + 2*maxFrame]byte)[:0] }

func giveBuffer(b []byte) {
	if cap(b) == maxOut+2*maxFrame { // else it had to grow
		sendBuffers.Put((*[maxOut + 2*maxFrame]byte)(b[:cap(b)]))
	}
}

// sender is what a connection has to send and may send. conn.mu guards it.
type sender struct {
	// out are the frames to be sent, in order; nil when there are none.
	out      []byte
	sending  bool
	controls int // frames in out that the client caused

	window int // what the client takes on the connection
	begin  int // what it takes on a new stream

	encoder *hpack.Encoder
	block   bytes.Buffer

	// ready are the streams whose sources are to be asked, in order. Waits counts those that wait for room.
	ready []*stream
	waits int

	cork corker
}

// corker is a connection that can be told to keep what is written to it until it is told to send. TLS writes each of its
// records by itself; together they take fewer system calls.
type corker interface {
	Cork()
	Uncork() error
}

func (s *sender) init(c *conn) {
	s.window, s.begin = firstWindow, firstWindow
	s.encoder = hpack.NewEncoder(&s.block)
	s.encoder.SetMaxDynamicTableSizeLimit(headerSize)
	if t, ok := c.net.(*tls.Conn); ok {
		s.cork, _ = t.NetConn().(corker)
	}
}

// kick makes sure that what there is to send is sent. c.mu is held.
func (c *conn) kick() {
	if c.sending || c.over {
		return
	}
	c.sending = true
	c.do(c.send)
}

// send sends until there is nothing to send.
func (c *conn) send() {
	runtime.Gosched() // whoever else is ready to write goes first
	buf := takeBuffer()
	defer func() { giveBuffer(buf) }()
	for {
		var more bool
		if buf, more = c.gather(buf[:0]); !more {
			return
		}
		if err := c.transmit(buf); err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.sending = false
			c.cut()
			return
		}
	}
}

func (c *conn) transmit(buf []byte) error {
	if c.cork == nil {
		if err := c.net.SetWriteDeadline(time.Now().Add(c.server.WriteTimeout)); err != nil {
			return err
		}
		_, err := c.net.Write(buf)
		return err
	}
	c.cork.Cork()
	_, err := c.net.Write(buf)
	if sent := c.cork.Uncork(); err == nil {
		err = sent
	}
	return err
}

// gather collects what is sent next: the frames that there are, then what sources have. Without more, sending is over for
// now.
func (c *conn) gather(buf []byte) (out []byte, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.over {
		// What was appended to out while a source was asked comes before the next source's data: its headers, say.
		switch {
		case len(c.out) == 0:
		case len(buf) == 0:
			buf, c.out = c.out, buf
		default:
			buf = append(buf, c.out...)
		}
		c.out, c.controls = c.out[:0], 0
		if c.waits > 0 {
			c.roomForAll()
		}
		if len(buf) >= maxOut || len(c.ready) == 0 {
			break
		}
		st := c.ready[0]
		c.ready[0] = nil
		if c.ready = c.ready[1:]; len(c.ready) == 0 {
			c.ready = nil
		}
		if st.queued = false; !st.gone {
			buf = c.ask(st, buf)
		}
	}
	if len(buf) == 0 || c.over {
		c.rest()
		return buf, false
	}
	return buf, true
}

// rest is when nothing is left to send. c.mu is held.
func (c *conn) rest() {
	c.sending = false
	if cap(c.out) > 0 {
		giveBuffer(c.out)
	}
	c.out = nil
	if c.retired && len(c.streams) == 0 && !c.over {
		// The client reads the farewell and closes; then the reading side ends.
		_ = c.net.SetReadDeadline(time.Now().Add(farewell))
		if half, ok := c.net.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}
}

// ask appends what a stream's source has, in one frame. c.mu is held, but not while the source works.
func (c *conn) ask(st *stream, buf []byte) []byte {
	n := max(0, min(st.window, c.window, maxFrame))
	st.window -= n
	c.window -= n
	st.asking = true
	c.mu.Unlock()
	begin := len(buf)
	buf = appendFrame(buf, http2.FrameData, 0, st.id, 0)
	buf, state := st.pull(buf, n)
	size := len(buf) - begin - frameHeader
	c.mu.Lock()
	st.asking = false
	st.window += n - size
	c.window += n - size
	if st.gone {
		c.window += size
		c.mu.Unlock()
		st.stop()
		c.mu.Lock()
		return buf[:begin]
	}
	trailed, ok := st.source.(Trailed)
	if size == 0 && (state != Done || ok) {
		buf = buf[:begin]
	} else {
		buf[begin], buf[begin+1], buf[begin+2] = byte(size>>16), byte(size>>8), byte(size)
	}
	switch {
	case state == Done && ok:
		c.headers(st, 0, trailed.Trailer(), true)
	case state == Done:
		buf[begin+4] = byte(http2.FlagDataEndStream)
		c.finished(st)
	case n == 0:
		c.await(st)
		c.roomFor(st) // there may be some by now
	case state == More:
		c.queue(st)
	}
	return buf
}

// finished is when the last frame of an answer is on its way. c.mu is held, but not while a source stops.
func (c *conn) finished(st *stream) {
	st.ended = true
	if st.inErr == nil { // nobody wants the rest of the body
		c.out = appendReset(c.buffer(), st.id, http2.ErrCodeNo)
	}
	stop := c.drop(st, nil)
	c.mu.Unlock()
	stop()
	c.mu.Lock()
}

// buffer returns out, ready to be appended to. c.mu is held.
func (c *conn) buffer() []byte {
	if c.out == nil {
		c.out = takeBuffer()
	}
	return c.out
}

// write sends bytes of an answer, as fast as the client takes them.
func (c *conn) write(st *stream, p []byte, end bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if st.gone || st.ended {
			return errGone
		}
		// A window may be less than nothing, and more may be gathered than should be.
		n := max(0, min(len(p), st.window, c.window, maxFrame, maxOut-len(c.out)))
		if n == 0 && len(p) > 0 {
			c.await(st)
			st.changed.Wait()
			continue
		}
		last := n == len(p)
		flags := http2.Flags(0)
		if last && end {
			flags = http2.FlagDataEndStream
		}
		c.out = append(appendFrame(c.buffer(), http2.FrameData, flags, st.id, n), p[:n]...)
		st.window -= n
		c.window -= n
		p = p[n:]
		c.kick()
		if last {
			if end {
				c.finished(st)
			}
			return nil
		}
	}
}

// await notes that a stream waits for room. c.mu is held.
func (c *conn) await(st *stream) {
	if !st.waits {
		st.waits = true
		c.waits++
	}
}

// roomFor lets a stream go on that waits for room. c.mu is held.
func (c *conn) roomFor(st *stream) {
	if !st.waits || st.window <= 0 || c.window <= 0 {
		return
	}
	st.waits = false
	c.waits--
	if st.source != nil {
		c.queue(st)
	}
	st.changed.Broadcast()
}

func (c *conn) roomForAll() {
	if c.waits == 0 || c.window <= 0 {
		return
	}
	for _, st := range c.streams {
		c.roomFor(st)
	}
}

// queue has the stream's source asked. c.mu is held.
func (c *conn) queue(st *stream) {
	if !st.queued {
		st.queued = true
		c.ready = append(c.ready, st)
		c.kick()
	}
}
