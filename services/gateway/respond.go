package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/yaml"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/gateway/media"
	"karve.dev/karve/services/gateway/route"
)

// contentTypeHeaders are ready to be put into a header.
var contentTypeHeaders = [...][]string{media.JSON: {media.ContentTypeJSON}, media.YAML: {media.ContentTypeYAML}, media.Protobuf: {media.ContentTypeProtobuf}}

// respond writes the API service's answer.
func (g *Gateway) respond(w *response, c *call, result *apiv1.Result) {
	addWarnings(w.Header(), result.GetWarnings())
	obj := result.GetObject()
	t := c.accepted.Type
	if t == media.Protobuf && obj.GetEncoding() != apiv1.Encoding_ENCODING_PROTOBUF {
		if !c.accepted.JSONToo && obj.GetKind() != "Status" {
			g.fail(w, c.r, errNotAcceptable)
			return
		}
		t = media.JSON
	}
	b := body{contentType: contentTypeHeaders[t], code: statusCode(c.target.Verb, result)}
	var err error
	switch t {
	case media.Protobuf:
		b.head, b.tail = media.Envelope(make([]byte, 0, 96), obj.GetApiVersion(), obj.GetKind(), len(obj.GetData()))
		b.data = obj.GetData()
	case media.YAML:
		b.data, err = yaml.JSONToYAML(obj.GetData())
	case media.JSON:
		if b.data, b.pieces = obj.GetData(), obj.GetPieces(); len(b.pieces) > 0 {
			b.tail = newline
			break
		}
		b.setJSON(obj.GetData(), pretty(c.r))
	}
	if err != nil {
		g.fail(w, c.r, err)
		return
	}
	b.write(w, c.r)
}

// statusCode is what Kubernetes answers to each verb.
func statusCode(verb route.Verb, result *apiv1.Result) int {
	switch {
	case verb == route.Create || result.GetCreated():
		return http.StatusCreated
	case result.GetAccepted():
		return http.StatusAccepted
	}
	return http.StatusOK
}

// addWarnings adds one Warning header each, in the form of RFC 7234.
func addWarnings(h http.Header, warnings []string) {
	for _, text := range warnings {
		h.Add("Warning", "299 - "+quote(text))
	}
}

// quote makes a quoted-string of a header; control characters become spaces.
func quote(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
		case r < ' ' || r == 0x7f:
			r = ' '
		}
		b.WriteRune(r)
	}
	b.WriteByte('"')
	return b.String()
}

// pretty reports whether a person reads the answer, as Kubernetes guesses it.
func pretty(r *http.Request) bool {
	if strings.Contains(r.URL.RawQuery, "pretty") {
		if q := r.URL.Query(); q.Has("pretty") {
			return isTrue(q, "pretty")
		}
	}
	agent := r.Header.Get("User-Agent")
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

const (
	// largeBody is what does not fit into the windows of a connection: sending it depends on the client.
	largeBody = 64 << 10
	// answerTimeout is how long a client may take to receive a large answer.
	answerTimeout = 2 * time.Minute
)

// body is an answer in pieces, so that the API service's bytes are not joined first.
type body struct {
	contentType      []string
	code             int
	head, data, tail []byte
	pieces           [][]byte // between data and tail
}

var newline = []byte("\n")

// setJSON takes a JSON document; it ends with a newline, as Kubernetes' do.
func (b *body) setJSON(data []byte, indent bool) {
	if indent {
		var out bytes.Buffer
		out.Grow(2 * len(data))
		if json.Indent(&out, data, "", "  ") == nil {
			data = out.Bytes()
		}
	}
	b.data = data
	if n := len(data); n > 0 && data[n-1] != '\n' {
		b.tail = newline
	}
}

func (b *body) size() int {
	n := len(b.head) + len(b.data) + len(b.tail)
	for _, p := range b.pieces {
		n += len(p)
	}
	return n
}

// pieceBuffers gather small pieces into large writes.
var pieceBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, largeBody) }}

// send writes all pieces.
func (b *body) send(w io.Writer) {
	if len(b.pieces) > 0 {
		buf := pieceBuffers.Get().(*bufio.Writer)
		buf.Reset(w)
		defer func() {
			_ = buf.Flush()
			buf.Reset(nil)
			pieceBuffers.Put(buf)
		}()
		w = buf
	}
	for _, p := range [][]byte{b.head, b.data} {
		if len(p) > 0 {
			_, _ = w.Write(p)
		}
	}
	for _, p := range b.pieces {
		if _, err := w.Write(p); err != nil {
			return // the client is gone
		}
	}
	if len(b.tail) > 0 {
		_, _ = w.Write(b.tail)
	}
}

// write sends the answer, compressed where that pays.
func (b *body) write(w *response, r *http.Request) {
	h := w.Header()
	h["Content-Type"] = b.contentType
	size := b.size()
	if size >= largeBody {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
	}
	if size >= gzipThreshold {
		h.Add("Vary", "Accept-Encoding")
		if wantsGzip(r) {
			b.writeGzip(w)
			return
		}
	}
	h["Content-Length"] = []string{strconv.Itoa(size)}
	w.WriteHeader(b.code)
	b.send(w)
}
