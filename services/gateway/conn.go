package gateway

import (
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	// writeTimeout cuts a connection whose client takes no byte for so long.
	writeTimeout = time.Minute
	// lingerTimeout is how long a closing connection may take to send what is pending.
	lingerTimeout = time.Second
	// maxPending bounds what waits to be sent; a writer for whom it has no room waits, too.
	maxPending = 256 << 10
	// fewPending is the size of the buffers that answers begin in: most end in it.
	fewPending = 16 << 10
)

// batchListener hands out connections that send in batches.
type batchListener struct{ net.Listener }

func (l batchListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	b := &batchConn{Conn: c}
	b.sent.L = &b.mu
	return b, nil
}

// batchConn sends what is written to it a moment later and together with what else was written meanwhile: HTTP/2 flushes
// after every frame, and with hundreds of watches on a connection a system call for each would cost more than all the
// rest. A failed send closes the connection and fails the next write.
type batchConn struct {
	net.Conn

	mu      sync.Mutex
	sent    sync.Cond
	pending *[]byte
	sending bool
	err     error
}

// Buffers come in two sizes and never grow: one that grew a little each time would be made anew for every large answer.
var (
	smallBuffers = sync.Pool{New: func() any { return newBuffer(fewPending) }}
	largeBuffers = sync.Pool{New: func() any { return newBuffer(maxPending) }}
)

func newBuffer(size int) *[]byte {
	b := make([]byte, 0, size)
	return &b
}

// release gives a buffer back to where it came from.
func release(b *[]byte) {
	*b = (*b)[:0]
	if cap(*b) == maxPending {
		largeBuffers.Put(b)
		return
	}
	smallBuffers.Put(b)
}

// Write implements net.Conn. It copies b and waits only for a client that is far behind.
func (c *batchConn) Write(b []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for c.err == nil && c.pending != nil && len(*c.pending) == maxPending {
			c.sent.Wait()
		}
		if c.err != nil {
			return n, c.err
		}
		n += c.fill(b[n:])
		if !c.sending {
			c.sending = true
			go c.send()
		}
		if n == len(b) {
			return n, nil
		}
	}
}

// fill copies what there is room for. c.mu is held.
func (c *batchConn) fill(b []byte) int {
	switch {
	case c.pending == nil && len(b) <= fewPending:
		c.pending = smallBuffers.Get().(*[]byte)
	case c.pending == nil:
		c.pending = largeBuffers.Get().(*[]byte)
	case len(*c.pending)+len(b) > cap(*c.pending) && cap(*c.pending) < maxPending:
		small := c.pending
		c.pending = largeBuffers.Get().(*[]byte)
		*c.pending = append(*c.pending, *small...)
		release(small)
	}
	n := min(len(b), cap(*c.pending)-len(*c.pending))
	*c.pending = append(*c.pending, b[:n]...)
	return n
}

// send sends until nothing is pending. Close waits for it.
func (c *batchConn) send() {
	// Whoever else is ready to write goes first.
	runtime.Gosched()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.pending != nil && c.err == nil {
		buf := c.pending
		c.pending = nil
		c.mu.Unlock()
		err := c.Conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err == nil {
			_, err = c.Conn.Write(*buf)
		}
		release(buf)
		c.mu.Lock()
		if err != nil {
			c.err = err
			_ = c.Conn.Close()
		}
		c.sent.Broadcast()
	}
	c.sending = false
	c.sent.Broadcast()
}

// SetWriteDeadline implements net.Conn. Sends have a deadline of their own.
func (c *batchConn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline implements net.Conn for reads.
func (c *batchConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// Close implements net.Conn. What is pending is still sent when the client takes it soon.
func (c *batchConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sending {
		cut := time.AfterFunc(lingerTimeout, func() { _ = c.Conn.Close() })
		for c.sending {
			c.sent.Wait()
		}
		cut.Stop()
	}
	if c.err == nil {
		c.err = net.ErrClosed
	}
	return c.Conn.Close()
}
