// Package bytestream carries a connection's bytes over a stream of messages, as gRPC has them, and makes a net.Conn of such
// a stream: whoever is given one need not know that there is no socket.
package bytestream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// chunk is the most that one message carries.
const chunk = 32 << 10

// Stream is one end of a stream of messages. Recv is called by one goroutine, Send and CloseSend by one other.
type Stream interface {
	// Send sends bytes, which are not touched afterwards. It blocks while the other end is behind.
	Send(data []byte) error
	// CloseSend says that no more bytes follow; the other direction goes on.
	CloseSend() error
	// Recv returns the next bytes, and io.EOF when the other end has ended the stream in order.
	Recv() ([]byte, error)
}

// Conn is a connection over a Stream. It has deadlines and can be half-closed. What is on its way is bounded by one message
// in each direction, besides what the stream itself holds.
type Conn struct {
	in, out       net.Conn
	local, remote net.Addr
	cancel        func()
	pumps         sync.WaitGroup

	mu sync.Mutex
	// failed is why the stream ended, when it was not in order.
	failed error
}

var _ net.Conn = (*Conn)(nil)

// New returns a connection over an open stream. Cancel, which must make blocked calls of the stream return, is called when
// the connection is closed.
func New(s Stream, cancel func(), local, remote net.Addr) *Conn {
	in, fill := net.Pipe()
	out, drain := net.Pipe()
	c := &Conn{in: in, out: out, local: local, remote: remote, cancel: cancel}
	c.pumps.Go(func() {
		c.fail(Receive(fill, s))
		_ = fill.Close()
		_ = drain.Close() // nobody takes what is written now
	})
	c.pumps.Go(func() {
		_ = Send(s, drain)
		_ = drain.Close()
	})
	return c
}

// Send sends everything of r to the stream and closes its sending side at the end of r.
func Send(s Stream, r io.Reader) error {
	buf := make([]byte, chunk)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			// A message may be handed over by reference: each has its own bytes.
			if err := s.Send(bytes.Clone(buf[:n])); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe):
			return s.CloseSend()
		case err != nil:
			return errors.Join(err, s.CloseSend())
		}
	}
}

// Receive writes everything of the stream to w; nil when the stream ended in order.
func Receive(w io.Writer, s Stream) error {
	for {
		data, err := s.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
}

func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = err
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.in.Read(b)
	if errors.Is(err, io.EOF) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.failed != nil {
			err = c.failed
		}
	}
	return n, closedErr(err)
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.out.Write(b)
	return n, closedErr(err)
}

// closedErr names the end of a pipe as a socket's is named.
func closedErr(err error) error {
	if errors.Is(err, io.ErrClosedPipe) {
		return net.ErrClosed
	}
	return err
}

// CloseWrite tells the other end that nothing more will be written.
func (c *Conn) CloseWrite() error { return c.out.Close() }

// Close implements net.Conn. It returns when what the connection runs has ended.
func (c *Conn) Close() error {
	_ = c.in.Close()
	_ = c.out.Close()
	c.cancel()
	c.pumps.Wait()
	return nil
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.in.SetReadDeadline(t), c.out.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.in.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.out.SetWriteDeadline(t) }
