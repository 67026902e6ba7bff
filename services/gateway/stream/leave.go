package stream

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// bind makes the connection, once it has left HTTP, end with the request's context: the libraries below know no contexts.
// The grace lets a last word reach the client.
func (s *Server) bind(r *Request, grace time.Duration) {
	r.Writer = &bound{ResponseWriter: r.Writer, request: r, grace: grace, pumps: &s.pumps}
}

type bound struct {
	http.ResponseWriter
	request *Request
	grace   time.Duration
	pumps   *sync.WaitGroup
}

// Hijack implements http.Hijacker.
func (b *bound) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := b.ResponseWriter.(http.Hijacker).Hijack()
	if err != nil {
		return nil, nil, err
	}
	polite := &leaving{Conn: conn, stopping: b.request.Stopping, pumps: b.pumps}
	context.AfterFunc(b.request.Context, func() { time.AfterFunc(b.grace, func() { _ = polite.Close() }) })
	return polite, rw, nil
}

// leaving is a connection that is closed when its client has read everything. Were it closed at once, the client's next sign of
// life would be answered by a reset, and that takes away what it has not read yet: the end of a long answer that somebody pages
// through.
type leaving struct {
	net.Conn
	stopping context.Context
	pumps    *sync.WaitGroup
	once     sync.Once
}

// Close implements net.Conn. It does not wait.
func (c *leaving) Close() error {
	if c.stopping.Err() != nil {
		return c.Conn.Close()
	}
	c.once.Do(func() { c.pumps.Go(c.leave) })
	return nil
}

func (c *leaving) leave() {
	defer c.Conn.Close()
	defer context.AfterFunc(c.stopping, func() { _ = c.Conn.Close() })()
	_ = c.Conn.SetReadDeadline(time.Now()) // for those who still read
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // where there is no room for it the client has been told by its protocol
	}
	_ = c.Conn.SetReadDeadline(time.Now().Add(idleTimeout))
	_, _ = io.Copy(io.Discard, c.Conn)
}
