package h2

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// raw is a client that may break the rules.
type raw struct {
	t *testing.T
	*tls.Conn
	*http2.Framer
	hpack *hpack.Encoder
	block bytes.Buffer
}

func dial(t *testing.T, url string) *raw {
	t.Helper()
	c, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(c, http2.ClientPreface)
	require.NoError(t, err)
	r := &raw{t: t, Conn: c, Framer: http2.NewFramer(c, c)}
	r.hpack = hpack.NewEncoder(&r.block)
	require.NoError(t, r.WriteSettings())
	return r
}

func (r *raw) ask(id uint32, end bool, fields ...string) {
	r.block.Reset()
	if len(fields) == 0 {
		fields = []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "x"}
	}
	for i := 0; i < len(fields); i += 2 {
		require.NoError(r.t, r.hpack.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	_ = r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.block.Bytes(), EndHeaders: true, EndStream: end})
}

// verdict is how the server ends a stream, or the connection (0, and its error).
func (r *raw) verdict(id uint32) (of uint32, code http2.ErrCode) {
	for {
		f, err := r.ReadFrame()
		if err != nil {
			return 0, http2.ErrCodeNo
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return id, f.ErrCode
			}
		case *http2.GoAwayFrame:
			return 0, f.ErrCode
		}
	}
}

func TestWhatBreaksTheProtocolIsRefused(t *testing.T) {
	url, _, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	for name, c := range map[string]struct {
		do   func(*raw)
		of   uint32
		code http2.ErrCode
	}{
		"an even stream":            {func(r *raw) { r.ask(2, true) }, 0, http2.ErrCodeProtocol},
		"a stream that went back":   {func(r *raw) { r.ask(5, true); r.ask(3, true) }, 0, http2.ErrCodeProtocol},
		"data of no stream":         {func(r *raw) { _ = r.WriteData(7, true, []byte("x")) }, 0, http2.ErrCodeProtocol},
		"credit of no stream":       {func(r *raw) { _ = r.WriteWindowUpdate(9, 1) }, 0, http2.ErrCodeProtocol},
		"too much credit":           {func(r *raw) { _ = r.WriteWindowUpdate(0, 1<<31-1) }, 0, http2.ErrCodeFlowControl},
		"too much credit, a stream": {func(r *raw) { r.ask(1, true); _ = r.WriteWindowUpdate(1, 1<<31-1) }, 1, http2.ErrCodeFlowControl},
		"no path":                   {func(r *raw) { r.ask(1, true, ":method", "GET", ":scheme", "https") }, 1, http2.ErrCodeProtocol},
		"upper case":                {func(r *raw) { r.ask(1, true, ":method", "GET", ":scheme", "https", ":path", "/", "Bad", "x") }, 1, http2.ErrCodeProtocol},
		"a push": {func(r *raw) {
			_ = r.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true})
		}, 0, http2.ErrCodeProtocol},
		"a huge frame": {func(r *raw) { _ = r.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 1<<20)) }, 0, http2.ErrCodeFrameSize},
		"more than was declared": {func(r *raw) {
			r.ask(1, false, ":method", "POST", ":scheme", "https", ":path", "/", "content-length", "3")
			_ = r.WriteData(1, true, []byte("four"))
		}, 1, http2.ErrCodeProtocol},
		"data after the end": {func(r *raw) { r.ask(1, true); _ = r.WriteData(1, true, []byte("x")) }, 1, http2.ErrCodeStreamClosed},
	} {
		t.Run(name, func(t *testing.T) {
			r := dial(t, url)
			c.do(r)
			of, code := r.verdict(c.of)
			require.Equal(t, c.of, of)
			require.Equal(t, c.code, code)
		})
	}
}

// TestRapidResetsRunNoMoreHandlersThanAllowed: a request that was reset counts as long as its handler runs.
func TestRapidResetsRunNoMoreHandlersThanAllowed(t *testing.T) {
	var running, most atomic.Int64
	release := make(chan struct{})
	url, _, _ := serve(t, func(http.ResponseWriter, *http.Request) {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		<-release
	}, func(s *Server) { s.MaxStreams = 10 })
	defer close(release)
	r := dial(t, url)
	go func() { _, _ = io.Copy(io.Discard, r.Conn) }()
	for i := range uint32(2000) {
		r.ask(2*i+1, true)
		_ = r.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
	}
	require.Eventually(t, func() bool { return running.Load() == 10 }, 10*time.Second, time.Millisecond)
	require.LessOrEqual(t, most.Load(), int64(10))
}

// TestASlowBodyHoldsNoHandlerAtFirst: a handler starts with its request's small body, or when that takes too long; a request
// that is given up before needs none.
func TestASlowBodyHoldsNoHandlerAtFirst(t *testing.T) {
	var begun atomic.Int64
	bodies := make(chan string, 1)
	url, _, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		begun.Add(1)
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body)
	}, func(s *Server) { s.MaxStreams, s.PingAfter = 10, 300*time.Millisecond })
	r := dial(t, url)
	go func() { _, _ = io.Copy(io.Discard, r.Conn) }()
	post := []string{":method", "POST", ":scheme", "https", ":path", "/", ":authority", "x", "content-length", "4"}
	for i := range uint32(100) {
		r.ask(2*i+1, false, post...)
		_ = r.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
	}
	r.ask(301, false, post...)
	_ = r.WriteData(301, true, []byte("fast"))
	require.Equal(t, "fast", <-bodies)
	require.EqualValues(t, 1, begun.Load())
	r.ask(303, false, post...)
	require.Eventually(t, func() bool { return begun.Load() == 2 }, 10*time.Second, time.Millisecond)
	_ = r.WriteData(303, true, []byte("slow"))
	require.Equal(t, "slow", <-bodies)
}

// TestABodyThatWasCutIsNotTakenForComplete: a reset throws away what has come, whether or not all had.
func TestABodyThatWasCutIsNotTakenForComplete(t *testing.T) {
	read := make(chan error, 1)
	url, _, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		_, err := io.ReadAll(r.Body)
		read <- err
	})
	r := dial(t, url)
	r.ask(1, false, ":method", "POST", ":scheme", "https", ":path", "/")
	require.NoError(t, r.WriteData(1, true, []byte("kind: ConfigMap")))
	require.NoError(t, r.WriteRSTStream(1, http2.ErrCodeCancel))
	require.ErrorIs(t, <-read, errGone)
}

// TestCookiesComeInPieces: many of them cost no more than their size.
func TestCookiesComeInPieces(t *testing.T) {
	got := make(chan []string, 1)
	url, _, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header["Cookie"] })
	r := dial(t, url)
	r.ask(1, true, ":method", "GET", ":scheme", "https", ":path", "/", "cookie", "a=b", "x", "y", "cookie", "c=d")
	require.Equal(t, []string{"a=b; c=d"}, <-got)
}

// TestAClientThatReadsNothingIsCut: what it makes the server answer is not kept without bound.
func TestAClientThatReadsNothingIsCut(t *testing.T) {
	url, _, s := serve(t, func(http.ResponseWriter, *http.Request) {}, func(s *Server) { s.WriteTimeout = 100 * time.Millisecond })
	r := dial(t, url)
	var pings bytes.Buffer
	many := http2.NewFramer(&pings, nil)
	for range 1000 {
		require.NoError(t, many.WritePing(false, [8]byte{1}))
	}
	var err error
	for err == nil {
		_, err = r.Write(pings.Bytes())
	}
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.conns) == 0
	}, 10*time.Second, 5*time.Millisecond)
}

func TestASilentClientIsAskedAndLeft(t *testing.T) {
	url, _, s := serve(t, func(http.ResponseWriter, *http.Request) {}, func(s *Server) {
		s.PingAfter, s.PingTimeout = 50*time.Millisecond, 50*time.Millisecond
	})
	dial(t, url)
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.conns) == 1
	}, 5*time.Second, time.Millisecond)
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.conns) == 0
	}, 5*time.Second, 5*time.Millisecond)
}
