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
	// maxPending bounds what waits to be sent; a writer that exceeds it waits, too.
	maxPending = 256 << 10
	// maxKept is the largest buffer that is kept for the next use.
	maxKept = maxPending
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

var sendBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 8<<10)
	return &b
}}

// Write implements net.Conn. It copies b and waits only for a client that is far behind.
func (c *batchConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && c.pending != nil && len(*c.pending) >= maxPending {
		c.sent.Wait()
	}
	if c.err != nil {
		return 0, c.err
	}
	if c.pending == nil {
		c.pending = sendBuffers.Get().(*[]byte)
	}
	*c.pending = append(*c.pending, b...)
	if !c.sending {
		c.sending = true
		go c.send()
	}
	return len(b), nil
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
		if cap(*buf) <= maxKept {
			*buf = (*buf)[:0]
			sendBuffers.Put(buf)
		}
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
