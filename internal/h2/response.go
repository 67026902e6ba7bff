package h2

import (
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// response implements http.ResponseWriter, http.Flusher, Detacher and the deadlines of http.ResponseController.
type response struct {
	st      *stream
	request *http.Request
	header  http.Header
	code    int // sent; 0: not yet
	// size is how long the answer is said to be, -1 when it is not.
	size, written int64
	source        Source
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header, 8)
	}
	return w.header
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(code int) { w.begin(code, false) }

// begin sends the headers.
func (w *response) begin(code int, end bool) {
	if w.code != 0 {
		return
	}
	c := w.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if code < 200 && code != http.StatusSwitchingProtocols {
		c.headers(w.st, code, w.header, false)
		return
	}
	w.code, w.size = code, -1
	if n, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 63); err == nil && n >= 0 {
		w.size = n
	}
	if _, said := w.header["Content-Length"]; end && !said && w.hasBody() {
		w.header["Content-Length"] = []string{"0"}
	}
	if w.request.Method == http.MethodHead || !w.hasBody() || w.size == 0 {
		end = true
	}
	c.headers(w.st, code, w.header, end)
}

func (w *response) hasBody() bool {
	return w.code != http.StatusNoContent && w.code != http.StatusNotModified && w.request.Method != http.MethodHead
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	if w.code == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.request.Method == http.MethodHead:
		return len(p), nil
	case !w.hasBody():
		return 0, http.ErrBodyNotAllowed
	case w.size >= 0 && w.written+int64(len(p)) > w.size:
		return 0, http.ErrContentLength
	case len(p) == 0:
		return 0, nil
	}
	w.written += int64(len(p))
	if err := w.st.conn.write(w.st, p, w.written == w.size); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteString implements io.StringWriter.
func (w *response) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// Flush implements http.Flusher: what was written is on its way anyhow.
func (w *response) Flush() {
	if w.code == 0 {
		w.WriteHeader(http.StatusOK)
	}
}

// Detach implements Detacher.
func (w *response) Detach(s Source) {
	w.Flush()
	w.source = s
	w.header, w.request = nil, nil // whoever may wake the stream holds w
}

// Wake implements Detacher.
func (w *response) Wake() {
	st, c := w.st, w.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.source != nil && !st.gone {
		c.queue(st)
	}
}

// SetReadDeadline is for http.ResponseController. It concerns reads that begin later.
func (w *response) SetReadDeadline(t time.Time) error {
	w.st.conn.mu.Lock()
	defer w.st.conn.mu.Unlock()
	w.st.readBy = t
	return nil
}

// SetWriteDeadline is for http.ResponseController: the stream is broken off then.
func (w *response) SetWriteDeadline(t time.Time) error {
	st, c := w.st, w.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.writeBy != nil {
		st.writeBy.Stop()
		st.writeBy = nil
	}
	if !t.IsZero() && !st.gone {
		st.writeBy = time.AfterFunc(time.Until(t), func() { c.abort(st, http2.ErrCodeCancel) })
	}
	return nil
}

// EnableFullDuplex is for http.ResponseController.
func (w *response) EnableFullDuplex() error { return nil }

// finish ends the answer when the handler has returned.
func (w *response) finish() {
	c := w.st.conn
	switch trailers := w.trailers(); {
	case w.code == 0:
		w.begin(http.StatusOK, true)
	case w.size > w.written && w.hasBody():
		c.abort(w.st, http2.ErrCodeInternal) // nobody may take it for complete
	case len(trailers) > 0:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.headers(w.st, 0, trailers, true)
	default:
		_ = c.write(w.st, nil, true)
	}
}

// trailers are the headers that the handler has set to follow the body.
func (w *response) trailers() (out http.Header) {
	for name, values := range w.header {
		if bare, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			if out == nil {
				out = http.Header{}
			}
			out[bare] = values
		}
	}
	for _, line := range w.header["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if values := w.header[name]; len(values) > 0 {
				if out == nil {
					out = http.Header{}
				}
				out[name] = values
			}
		}
	}
	return out
}

// headers sends headers, or trailers when code is 0. c.mu is held.
func (c *conn) headers(st *stream, code int, h http.Header, end bool) {
	if st.gone || st.ended {
		return
	}
	c.block.Reset()
	if code > 0 {
		c.field(":status", strconv.Itoa(code))
		if code >= 200 && h["Date"] == nil {
			c.field("date", now())
		}
	}
	for name, values := range h {
		lower := lowered[name]
		if lower == "" {
			lower = strings.ToLower(name)
		}
		if connectionHeaders[lower] || !httpguts.ValidHeaderFieldName(lower) {
			continue
		}
		for _, v := range values {
			if httpguts.ValidHeaderFieldValue(v) {
				c.field(lower, v)
			}
		}
	}
	c.out = appendHeaders(c.buffer(), st.id, c.block.Bytes(), end)
	c.kick()
	if end {
		c.finished(st)
	}
}

// field encodes a header. What is different each time is not worth a place in the client's table.
func (c *conn) field(name, value string) {
	_ = c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: unique[name]})
}

var (
	unique            = map[string]bool{"audit-id": true, "content-length": true, "etag": true, "last-modified": true}
	connectionHeaders = map[string]bool{"connection": true, "transfer-encoding": true, "upgrade": true, "keep-alive": true, "proxy-connection": true}

	// lowered are the usual headers as HTTP/2 writes them.
	lowered = func() map[string]string {
		out := map[string]string{}
		for _, name := range []string{
			"Audit-Id", "Cache-Control", "Content-Type", "Content-Length", "Content-Encoding", "Date", "Etag", "Location", "Retry-After",
			"Vary", "Warning", "X-Content-Type-Options", "X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid",
		} {
			out[name] = strings.ToLower(name)
		}
		return out
	}()
)

// dated is the Date header of a second.
type dated struct {
	second int64
	text   string
}

var today atomic.Pointer[dated]

func now() string {
	t := time.Now()
	if d := today.Load(); d != nil && d.second == t.Unix() {
		return d.text
	}
	d := &dated{t.Unix(), t.UTC().Format(http.TimeFormat)}
	today.Store(d)
	return d.text
}
