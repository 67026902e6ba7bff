package h2

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// serve runs a server for a handler and returns its address and Go's own client for it.
func serve(t testing.TB, h http.HandlerFunc, change ...func(*Server)) (url string, client *http.Client, s *Server) {
	t.Helper()
	s = &Server{
		MaxStreams: 250, MaxHeaderBytes: 64 << 10, ConnWindow: 1 << 20, StreamWindow: 256 << 10,
		IdleTimeout: time.Minute, PingAfter: time.Minute, PingTimeout: time.Minute, WriteTimeout: time.Minute,
	}
	for _, c := range change {
		c(s)
	}
	lent := httptest.NewUnstartedServer(nil) // for its certificate
	lent.StartTLS()
	config := &tls.Config{Certificates: lent.TLS.Certificates, NextProtos: []string{"h2"}}
	lent.Close()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				secured := tls.Server(&Corked{Conn: c, Timeout: time.Minute}, config)
				if secured.HandshakeContext(ctx) == nil {
					s.Serve(ctx, secured, h)
				}
			})
		}
	})
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		lis.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return "https://" + lis.Addr().String(), &http.Client{Transport: transport}, s
}

// lines is a source of numbered lines. Allow makes more of them available.
type lines struct {
	later   Detacher
	allowed atomic.Int64
	sent    int64
	most    int64
	rest    []byte
	stopped chan struct{}
}

func (l *lines) allow(n int64) {
	l.allowed.Add(n)
	l.later.Wake()
}

func (l *lines) Append(b []byte, n int) ([]byte, State) {
	limit := len(b) + n
	for {
		k := min(len(l.rest), limit-len(b))
		b, l.rest = append(b, l.rest[:k]...), l.rest[k:]
		switch {
		case len(l.rest) > 0:
			return b, More
		case l.sent == l.most:
			return b, Done
		case l.sent == l.allowed.Load():
			return b, Waiting
		}
		l.rest = fmt.Appendf(nil, "%d %s\n", l.sent, strings.Repeat("x", int(l.sent*37%3000)))
		l.sent++
	}
}

func (l *lines) Stop() { close(l.stopped) }

// TestManyDetachedStreamsLoseNothing: hundreds of sources on one connection, woken at any time, arrive whole and in order.
func TestManyDetachedStreamsLoseNothing(t *testing.T) {
	const streams, each = 200, 400
	made := make(chan *lines, streams)
	url, client, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		l := &lines{later: w.(Detacher), most: each, stopped: make(chan struct{})}
		l.later.Detach(l)
		made <- l
	})
	var wg sync.WaitGroup
	for range streams {
		wg.Go(func() {
			res, err := client.Get(url)
			if !checked(t, err) {
				return
			}
			defer res.Body.Close()
			in, next := bufio.NewScanner(res.Body), 0
			for in.Scan() {
				if want := fmt.Sprintf("%d %s", next, strings.Repeat("x", next*37%3000)); in.Text() != want {
					t.Errorf("line %d is %.20q", next, in.Text())
					return
				}
				next++
			}
			if checked(t, in.Err()); next != each {
				t.Errorf("%d lines", next)
			}
		})
	}
	all := make([]*lines, streams)
	for i := range all {
		all[i] = <-made
	}
	for range each {
		for _, l := range all {
			l.allow(1)
		}
	}
	wg.Wait()
	for _, l := range all {
		<-l.stopped
	}
}

func checked(t *testing.T, err error) bool {
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

func TestBodiesOfEverySizeGoBothWays(t *testing.T) {
	url, client, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("length") {
			w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
		}
		_, err := io.Copy(w, r.Body)
		checked(t, err)
	})
	var wg sync.WaitGroup
	for _, size := range []int{0, 1, 100, 16 << 10, 70_000, 300_000, 5 << 20} {
		for _, query := range []string{"", "?length"} {
			wg.Go(func() {
				body := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
				res, err := client.Post(url+query, "text/plain", bytes.NewReader(body))
				if !checked(t, err) {
					return
				}
				defer res.Body.Close()
				got, err := io.ReadAll(res.Body)
				if checked(t, err); !bytes.Equal(body, got) {
					t.Errorf("sent %d bytes, got %d", len(body), len(got))
				}
			})
		}
	}
	wg.Wait()
}

func TestAStalledStreamHoldsUpNoOther(t *testing.T) {
	url, client, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/endless" {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 100_000)); err != nil {
					return
				}
			}
		}
		_, _ = io.WriteString(w, "ok")
	})
	stalled, err := client.Get(url + "/endless")
	require.NoError(t, err)
	defer stalled.Body.Close()
	for range 20 {
		res, err := client.Get(url)
		require.NoError(t, err)
		got, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, "ok", string(got))
	}
}

func TestAClientThatLeavesEndsTheRequest(t *testing.T) {
	left := make(chan string, 2)
	url, client, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/detached" {
			l := &lines{later: w.(Detacher), most: 10, stopped: make(chan struct{})}
			l.later.Detach(l)
			go func() { <-l.stopped; left <- "detached" }()
			return
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		left <- "handler"
	})
	for _, path := range []string{"/", "/detached"} {
		res, err := client.Get(url + path)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
	}
	require.ElementsMatch(t, []string{"handler", "detached"}, []string{<-left, <-left})
}

func TestAnswersThatBreakOffAreNotTakenForComplete(t *testing.T) {
	url, client, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/panics":
			_, _ = io.WriteString(w, "half of it")
			panic(http.ErrAbortHandler)
		case "/short":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half of it")
		case "/late":
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(-time.Second))
			_, _ = w.Write(make([]byte, 8<<20))
		}
	})
	for _, path := range []string{"/panics", "/short", "/late"} {
		res, err := client.Get(url + path)
		if err == nil {
			_, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		require.Error(t, err, path)
	}
}

func TestShutdownLetsRequestsFinishAndTakesNoMore(t *testing.T) {
	release, began := make(chan struct{}), make(chan struct{})
	url, client, s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		close(began)
		<-release
		_, _ = io.WriteString(w, "finished")
	})
	got := make(chan string)
	go func() {
		res, err := client.Get(url)
		if !checked(t, err) {
			close(got)
			return
		}
		b, _ := io.ReadAll(res.Body)
		got <- string(b)
	}()
	<-began
	s.Shutdown()
	close(release)
	require.Equal(t, "finished", <-got)
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.conns) == 0
	}, 5*time.Second, 5*time.Millisecond, "a connection ends with its last request")
}

func TestHeadersTrailersAndStatuses(t *testing.T) {
	url, client, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", strings.Join(r.Header["X-Asked"], "|")+" "+r.Host+" "+r.Method+" "+r.URL.RawQuery)
		switch r.URL.Path {
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/trailer":
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, "body")
			w.Header().Set("X-Sum", "42")
		case "/large":
			w.Header().Set("X-Large", strings.Repeat("y", 40_000))
		}
	})
	req, err := http.NewRequest("HEAD", url+"/?a=b", nil)
	require.NoError(t, err)
	req.Header["X-Asked"] = []string{"one", "two"}
	res, err := client.Do(req)
	require.NoError(t, err)
	require.Equal(t, "one|two "+strings.TrimPrefix(url, "https://")+" HEAD a=b", res.Header.Get("X-Seen"))
	require.NotEmpty(t, res.Header.Get("Date"))
	res, err = client.Get(url + "/none")
	require.NoError(t, err)
	require.Equal(t, 204, res.StatusCode)
	res, err = client.Get(url + "/trailer")
	require.NoError(t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, "body", string(b))
	require.Equal(t, "42", res.Trailer.Get("X-Sum"))
	res, err = client.Get(url + "/large")
	require.NoError(t, err)
	require.Len(t, res.Header.Get("X-Large"), 40_000)
}
