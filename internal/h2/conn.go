package h2

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	prefaceTimeout = 10 * time.Second
	// farewell is how long a client that broke the protocol may take to read why.
	farewell = 250 * time.Millisecond
	// maxControl bounds the frames that a client can make the server send without reading them.
	maxControl = 10_000
	headerSize = 4096
)

var errGone = errors.New("h2: the client is gone")

// conn is one connection. One goroutine reads, one sends while there is something to send.
type conn struct {
	server  *Server
	net     net.Conn
	handler http.Handler
	base    context.Context
	tls     *tls.ConnectionState
	remote  string
	reader  *http2.Framer
	// heard is when the client was last heard of, in Unix nanoseconds.
	heard atomic.Int64
	// work is what the crew does for the connection: handlers and sending.
	work sync.WaitGroup

	mu      sync.Mutex
	streams map[uint32]*stream
	// active counts the streams that are open or whose handler runs; last is the highest that was begun.
	active int
	last   uint32
	// retired: no new streams; over: nothing is sent any more.
	retired, over bool
	// quietSince is when the last stream ended.
	quietSince time.Time
	pinged     time.Time
	timer      *time.Timer

	sender
	receiver
}

// receiver is how much the client may send. conn.mu guards it.
type receiver struct {
	room  int // what the client may send now
	taken int // what handlers have read and the client has not been told
}

func newConn(s *Server, base context.Context, nc net.Conn, h http.Handler) *conn {
	c := &conn{server: s, net: nc, handler: h, base: base, remote: nc.RemoteAddr().String(), streams: map[uint32]*stream{}, quietSince: time.Now()}
	if t, ok := nc.(*tls.Conn); ok {
		state := t.ConnectionState()
		c.tls = &state
	}
	c.reader = http2.NewFramer(nil, bufio.NewReaderSize(heardReader{c}, 4096))
	c.reader.SetReuseFrames()
	c.reader.SetMaxReadFrameSize(maxFrame)
	c.reader.ReadMetaHeaders = hpack.NewDecoder(headerSize, nil)
	c.reader.MaxHeaderListSize = s.MaxHeaderBytes
	c.heard.Store(time.Now().UnixNano())
	c.sender.init(c)
	return c
}

// heardReader notes when something came.
type heardReader struct{ c *conn }

func (r heardReader) Read(b []byte) (int, error) {
	n, err := r.c.net.Read(b)
	if n > 0 {
		r.c.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

// serve speaks with the client until one of both leaves.
func (c *conn) serve(closing bool) {
	defer c.end()
	s := c.server
	c.mu.Lock()
	c.out = appendSettings(c.buffer(), http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: s.MaxStreams},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(s.StreamWindow)}, http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: s.MaxHeaderBytes})
	c.room = s.ConnWindow
	c.out = appendCredit(c.out, 0, s.ConnWindow-firstWindow)
	c.kick()
	c.timer = time.AfterFunc(s.checkEvery(), c.check)
	c.mu.Unlock()
	if closing {
		c.retire()
	}
	if c.readPreface() != nil {
		return
	}
	for {
		err := c.readFrame()
		var wrong http2.ConnectionError
		switch {
		case err == nil:
			continue
		case errors.As(err, &wrong):
			c.blame(http2.ErrCode(wrong))
		case errors.Is(err, http2.ErrFrameTooLarge):
			c.blame(http2.ErrCodeFrameSize)
		}
		return
	}
}

// do has the crew do f; the connection ends after that.
func (c *conn) do(f func()) {
	c.work.Add(1)
	c.server.crew.do(func() {
		defer c.work.Done()
		f()
	})
}

func (c *conn) readPreface() error {
	_ = c.net.SetReadDeadline(time.Now().Add(prefaceTimeout))
	got := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.net, got); err != nil {
		return err
	}
	if string(got) != http2.ClientPreface {
		return errors.New("h2: not a client's preface")
	}
	f, err := c.reader.ReadFrame()
	if err != nil {
		return err
	}
	settings, ok := f.(*http2.SettingsFrame)
	if !ok {
		c.blame(http2.ErrCodeProtocol)
		return errGone
	}
	_ = c.net.SetReadDeadline(time.Time{})
	return c.onSettings(settings)
}

// readFrame reads one frame and acts on it. What concerns only a stream ends only that.
func (c *conn) readFrame() error {
	f, err := c.reader.ReadFrame()
	if err == nil {
		err = c.act(f)
	}
	var wrong http2.StreamError
	if !errors.As(err, &wrong) {
		return err
	}
	c.mu.Lock()
	st := c.streams[wrong.StreamID]
	if wrong.StreamID > c.last {
		c.last = wrong.StreamID
	}
	c.control(appendReset(c.buffer(), wrong.StreamID, wrong.Code))
	stop := c.drop(st, errGone)
	over := c.over
	c.mu.Unlock()
	stop()
	if over {
		return errGone
	}
	return nil
}

// control makes out, to which a control frame was appended, what is to be sent. A client that reads nothing but makes the
// server answer is cut. c.mu is held.
func (c *conn) control(out []byte) {
	c.out = out
	if c.controls++; c.controls > maxControl {
		c.cut()
		return
	}
	c.kick()
}

// cut ends the connection without a word. c.mu is held.
func (c *conn) cut() {
	c.over = true
	below := c.net
	if t, ok := c.net.(*tls.Conn); ok {
		below = t.NetConn() // its own farewell might have to wait
	}
	_ = below.Close()
}

// blame tells the client what it did wrong before the connection ends.
func (c *conn) blame(code http2.ErrCode) {
	c.mu.Lock()
	c.retired = true
	c.control(appendGoAway(c.buffer(), c.last, code))
	c.mu.Unlock()
	_ = c.net.SetReadDeadline(time.Now().Add(farewell))
	_, _ = io.Copy(io.Discard, c.net)
}

// retire lets the client begin no more streams; the connection ends with the last of those that there are.
func (c *conn) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.retired {
		c.retired = true
		c.control(appendGoAway(c.buffer(), c.last, http2.ErrCodeNo))
	}
}

// end ends what the connection has begun.
func (c *conn) end() {
	c.mu.Lock()
	c.over = true
	c.timer.Stop()
	var stops []func()
	for _, st := range c.streams {
		stops = append(stops, c.drop(st, errGone))
	}
	c.mu.Unlock()
	_ = c.net.Close()
	for _, stop := range stops {
		stop()
	}
	c.work.Wait()
}

func (s *Server) checkEvery() time.Duration { return min(s.PingAfter, s.IdleTimeout, s.PingTimeout) }

// check looks now and then whether the client is still there and needs the connection.
func (c *conn) check() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.startAll()
	now, heard := time.Now(), time.Unix(0, c.heard.Load())
	switch {
	case len(c.streams) == 0 && now.Sub(c.quietSince) > c.server.IdleTimeout && !c.retired:
		c.retired = true
		c.control(appendGoAway(c.buffer(), c.last, http2.ErrCodeNo))
	case heard.Before(c.pinged) && now.Sub(c.pinged) > c.server.PingTimeout:
		c.cut()
		return
	case now.Sub(heard) > c.server.PingAfter && !heard.Before(c.pinged):
		c.pinged = now
		c.control(appendPing(c.buffer(), 0, [8]byte{}))
	}
	c.timer.Reset(c.server.checkEvery())
}
