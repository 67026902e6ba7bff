package h2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
)

// open begins a stream. c.mu is held.
func (c *conn) open(f *http2.MetaHeadersFrame) error {
	st := &stream{conn: c, id: f.StreamID, declared: -1, room: c.server.StreamWindow, window: c.begin, running: true}
	st.changed.L = &c.mu
	if f.StreamEnded() {
		st.inErr = io.EOF
	}
	r, refusal := c.request(st, f)
	if r == nil {
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeProtocol}
	}
	ctx, cancel := context.WithCancel(c.base)
	st.cancel = cancel
	c.streams[st.id] = st
	c.active++
	st.start = func() { c.handle(st, r.WithContext(ctx), refusal) }
	if refusal != 0 || !st.comesAtOnce() {
		c.start(st)
	}
	return nil
}

// comesAtOnce reports whether a stream's body is small enough to be waited for before the handler starts: that saves
// starting it, only to have it wait. A client that takes its time gets its handler from check.
func (st *stream) comesAtOnce() bool {
	return st.inErr == nil && st.declared > 0 && st.declared <= firstBody && !st.expectContinue
}

// start runs a stream's handler unless it does already. c.mu is held.
func (c *conn) start(st *stream) {
	if st.start != nil {
		c.do(st.start)
		st.start = nil
	}
}

func (c *conn) startAll() {
	for _, st := range c.streams {
		c.start(st)
	}
}

// request makes a stream's request; nil means that its headers make no sense at all. Refusal is the status of one that is
// not served.
func (c *conn) request(st *stream, f *http2.MetaHeadersFrame) (r *http.Request, refusal int) {
	method, path, scheme, authority := "", "", "", ""
	for _, p := range f.PseudoFields() {
		switch p.Name {
		case ":method":
			method = p.Value
		case ":path":
			path = p.Value
		case ":scheme":
			scheme = p.Value
		case ":authority":
			authority = p.Value
		default:
			return nil, 0
		}
	}
	if f.Truncated {
		refusal = http.StatusRequestHeaderFieldsTooLarge
	} else if method == "" || path == "" || scheme != "https" && scheme != "http" || method == http.MethodConnect {
		return nil, 0
	}
	r = &http.Request{
		Method: method, Proto: "HTTP/2.0", ProtoMajor: 2, RemoteAddr: c.remote, RequestURI: path, TLS: c.tls, Body: http.NoBody,
		Header: make(http.Header, len(f.RegularFields())),
	}
	if code := fillHeader(r.Header, f); refusal == 0 {
		refusal = code
	}
	if r.Host = authority; r.Host == "" {
		r.Host = r.Header.Get("Host")
	}
	delete(r.Header, "Host")
	if refusal == 0 {
		var err error
		if r.URL, err = url.ParseRequestURI(path); err != nil {
			refusal = http.StatusBadRequest
		}
	}
	if refusal == 0 && !st.declare(r) {
		return nil, 0
	}
	return r, refusal
}

// fillHeader sets a request's headers, and returns a status when some do not belong into HTTP/2.
func fillHeader(h http.Header, f *http2.MetaHeadersFrame) (refusal int) {
	fields := f.RegularFields()
	values := make([]string, len(fields))
	for i, field := range fields {
		name := textproto.CanonicalMIMEHeaderKey(field.Name)
		switch name {
		case "Connection", "Transfer-Encoding", "Upgrade", "Proxy-Connection", "Keep-Alive":
			refusal = http.StatusBadRequest
			continue
		case "Te":
			if field.Value != "trailers" {
				refusal = http.StatusBadRequest
			}
		}
		if there, ok := h[name]; ok {
			h[name] = append(there, field.Value)
			continue
		}
		values[i] = field.Value
		h[name] = values[i : i+1 : i+1]
	}
	if cookies := h["Cookie"]; len(cookies) > 1 { // HTTP/2 lets a client cut it where it likes
		h["Cookie"] = []string{strings.Join(cookies, "; ")}
	}
	return refusal
}

// declare takes down how large the body is said to be, and gives the request its body. False: that makes no sense.
func (st *stream) declare(r *http.Request) bool {
	sizes := r.Header["Content-Length"]
	if len(sizes) > 0 {
		n, err := strconv.ParseUint(sizes[0], 10, 63)
		if err != nil || len(sizes) > 1 {
			return false
		}
		st.declared = int64(n)
	}
	if st.inErr != nil {
		r.ContentLength = 0
		return st.declared <= 0 || r.Method == http.MethodHead
	}
	r.ContentLength = st.declared
	r.Body = body{st}
	if strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		delete(r.Header, "Expect")
		st.expectContinue = true
	}
	return true
}

// handle runs the handler of a stream.
func (c *conn) handle(st *stream, r *http.Request, refusal int) {
	w := &response{st: st, request: r}
	defer func() {
		p := recover()
		if p != nil {
			if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				c.log(p)
			}
			c.abort(st, http2.ErrCodeInternal)
		} else if w.source == nil {
			w.finish()
		}
		c.leave(st, w.source)
	}()
	if refusal != 0 {
		w.WriteHeader(refusal)
		return
	}
	c.handler.ServeHTTP(w, r)
}

// leave is when a handler has returned. From then on its source, if any, is asked.
func (c *conn) leave(st *stream, source Source) {
	c.mu.Lock()
	st.running = false
	if st.gone {
		c.active--
	}
	detached := source != nil && !st.gone
	if source != nil {
		st.source = source
	}
	if detached {
		c.queue(st)
	}
	c.mu.Unlock()
	if !detached {
		st.stop()
	}
}

func (c *conn) log(p any) {
	if l := c.server.ErrorLog; l != nil {
		l.Print(fmt.Sprintf("h2: panic serving %s: %v\n%s", c.remote, p, debug.Stack()))
	}
}
