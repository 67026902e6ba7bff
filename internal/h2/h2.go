// Package h2 serves HTTP/2 connections to an http.Handler, for a server whose clients hold hundreds of quiet streams on a
// few connections. One goroutine a connection sends, and only while there is something to send: it gathers the frames of
// all streams into large writes. A handler may return and leave the rest of its answer to a Source, which that goroutine
// asks for more when it is woken: such a stream costs no goroutine and no buffer.
//
// Frames are read and headers coded by golang.org/x/net/http2. Server push, priorities and CONNECT are not offered.
package h2

import (
	"context"
	"crypto/tls"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// Source is the rest of an answer. Its methods are called one at a time.
type Source interface {
	// Append appends what there is to send to b, at most n bytes of it, and tells what to do next. N is 0 when the client
	// takes nothing at present: the source can then only tell that it is Done.
	Append(b []byte, n int) ([]byte, State)
	// Stop is called once, when nothing more is asked of the source: it was Done, or the client is gone.
	Stop()
}

// Trailed is a Source whose answer ends with trailers.
type Trailed interface {
	Source
	// Trailer is called once the source is Done. It must not wait.
	Trailer() http.Header
}

// State is what a source has to say about what comes next.
type State uint8

const (
	// Waiting: nothing more until the stream is woken.
	Waiting State = iota
	// More: there is more already.
	More
	// Done: that was all.
	Done
)

// Detacher is implemented by this package's response writers.
type Detacher interface {
	// Detach leaves the rest of the answer to a source, which is asked for the first time at once. The handler writes
	// nothing more. The request's context lives on until the source is stopped.
	Detach(Source)
	// Wake makes the sender ask the source. It may be called at any time, before Detach, too; it never waits for I/O.
	Wake()
}

// Server holds what its connections have in common. Its fields are not changed once it serves.
type Server struct {
	// MaxStreams bounds the requests of one connection that are open or whose handlers still run.
	MaxStreams uint32
	// MaxHeaderBytes bounds a request's headers.
	MaxHeaderBytes uint32
	// StreamWindow and ConnWindow bound what clients may have sent of their bodies that handlers have not read, per stream
	// and connection.
	StreamWindow, ConnWindow int
	// IdleTimeout closes connections without requests. PingAfter is after how much silence a client is asked whether it
	// is still there; it must answer within PingTimeout. WriteTimeout closes connections whose client takes no bytes.
	IdleTimeout, PingAfter, PingTimeout, WriteTimeout time.Duration
	// ErrorLog is told of handlers that panic.
	ErrorLog *log.Logger

	crew crew

	mu       sync.Mutex
	conns    map[*conn]struct{}
	shutdown bool
}

// Serve serves one connection until it ends, and returns when all its handlers have returned. Base is the context of its
// requests.
func (s *Server) Serve(base context.Context, c *tls.Conn, h http.Handler) {
	s.serve(base, c, h)
}

// serve is Serve for any connection.
func (s *Server) serve(base context.Context, nc net.Conn, h http.Handler) {
	c := newConn(s, base, nc, h)
	s.crew.enroll()
	defer s.crew.leave()
	s.mu.Lock()
	closing := s.shutdown
	if s.conns == nil {
		s.conns = map[*conn]struct{}{}
	}
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
	}()
	c.serve(closing)
}

// Shutdown tells every client to send no more requests on its connection; connections end with their last stream. New
// connections end at once.
func (s *Server) Shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shutdown = true
	for c := range s.conns {
		c.retire()
	}
}
