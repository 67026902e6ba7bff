package h2

import (
	"net"
	"sync"
	"time"
)

var _ corker = (*Corked)(nil)

// Corked is a connection below TLS that gathers TLS records into fewer system calls.
type Corked struct {
	net.Conn
	// Timeout is how long a write may take; deadlines for writes that are set otherwise do not count.
	Timeout time.Duration

	mu      sync.Mutex
	corked  bool
	pending *[]byte
}

// Cork keeps what is written until Uncork.
func (c *Corked) Cork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.corked = true
	c.pending = corkBuffers.Get().(*[]byte)
}

// corkBuffers hold what sendBuffers do once it is encrypted.
var corkBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, maxOut+3*maxFrame)
	return &b
}}

// Write implements net.Conn.
func (c *Corked) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.corked {
		*c.pending = append(*c.pending, b...)
		return len(b), nil
	}
	return c.write(b)
}

// write sends. c.mu is held, for TLS records must go out in the order in which they were written: the side that reads may
// have to write one, too, for a new key. Close ends a write that hangs.
func (c *Corked) write(b []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.Timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// SetWriteDeadline implements net.Conn.
func (c *Corked) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline implements net.Conn, for reads.
func (c *Corked) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// Uncork sends what was kept.
func (c *Corked) Uncork() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	pending := c.pending
	c.corked, c.pending = false, nil
	_, err := c.write(*pending)
	*pending = (*pending)[:0]
	corkBuffers.Put(pending)
	return err
}
