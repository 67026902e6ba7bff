package transport

import (
	"context"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"karve.dev/karve/internal/h2"
)

const contentType = "application/grpc"

const (
	// farewell is how long a call may take to say that its time is over.
	farewell = time.Second
	// requestTimeout is how long a call's only message may take to come.
	requestTimeout = time.Minute
	// maxTimeout is what a call may take in the end.
	maxTimeout = 10 * 365 * 24 * time.Hour
)

var contentTypes = []string{contentType}

// answer serves one gRPC call that came over HTTP/2.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	if t := r.Header.Get("Content-Type"); t != contentType && t != contentType+"+proto" {
		w.WriteHeader(http.StatusUnsupportedMediaType)
		return
	}
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	w.Header()["Content-Type"] = contentTypes
	c := &wireCall{w: w, body: r.Body, cancel: func() {}}
	err := c.begin(r)
	if err == nil {
		err = s.run(c, r)
	}
	if c.left != nil && err == nil {
		w.(h2.Detacher).Detach(&pulledCall{call: c, source: c.left})
		return
	}
	c.cancel()
	c.finish(err)
}

// begin reads what the headers say.
func (c *wireCall) begin(r *http.Request) error {
	md := make(metadata.MD, len(r.Header)+1)
	for name, values := range r.Header {
		name = strings.ToLower(name)
		if reserved[name] {
			continue
		}
		if !strings.HasSuffix(name, "-bin") {
			md[name] = values
			continue
		}
		for _, v := range values {
			raw, err := decodeBinary(v)
			if err != nil {
				return status.Errorf(codes.Internal, "the header %s is no base64: %v", name, err)
			}
			md[name] = append(md[name], raw)
		}
	}
	md[":authority"] = []string{r.Host}
	c.ctx = metadata.NewIncomingContext(r.Context(), md)
	if t := r.Header.Get("Grpc-Timeout"); t != "" {
		d, ok := parseTimeout(t)
		if !ok {
			return status.Errorf(codes.Internal, "malformed grpc-timeout %q", t)
		}
		c.ctx, c.cancel = context.WithTimeout(c.ctx, d)
		// Nobody waits any longer for a client that does not take what it asked for.
		_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(d + farewell))
	}
	return c.decompress(r.Header.Get("Grpc-Encoding"))
}

// run finds the method and calls it.
func (s *Server) run(c *wireCall, r *http.Request) error {
	svc, name, err := s.lookup(r.URL.Path)
	if err != nil {
		return err
	}
	c.ctx = context.WithValue(c.ctx, wireKey{}, c)
	for i := range svc.desc.Methods {
		if m := &svc.desc.Methods[i]; m.MethodName == name {
			c.readSoon()
			reply, err := m.Handler(svc.impl, c.ctx, c.RecvMsg, s.unary)
			if err != nil {
				return err
			}
			if _, ok := c.ctx.Deadline(); !ok {
				_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(writeTimeout))
			}
			return c.SendMsg(reply)
		}
	}
	for i := range svc.desc.Streams {
		d := &svc.desc.Streams[i]
		if d.StreamName != name {
			continue
		}
		if !d.ClientStreams {
			c.readSoon()
			c.ctx = context.WithValue(c.ctx, pulledKey{}, &c.Pulled)
			c.Wake = c.w.(h2.Detacher).Wake
		}
		info := &grpc.StreamServerInfo{FullMethod: r.URL.Path, IsClientStream: d.ClientStreams, IsServerStream: d.ServerStreams}
		return s.runStream(svc, d, info, c)
	}
	return status.Errorf(codes.Unimplemented, "unknown method %s for service %s", name, svc.desc.ServiceName)
}

// readSoon bounds the time in which the only message of a call must come.
func (c *wireCall) readSoon() {
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(requestTimeout))
}

// reserved are the headers that belong to gRPC itself.
var reserved = map[string]bool{
	"content-type": true, "te": true, "grpc-timeout": true, "grpc-encoding": true, "grpc-accept-encoding": true, "grpc-message-type": true,
	"content-length": true,
}

func decodeBinary(v string) (string, error) {
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(v, "="))
	return string(raw), err
}

var timeoutUnits = map[byte]time.Duration{
	'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
}

func parseTimeout(s string) (time.Duration, bool) {
	const maxDigits = 8
	last := len(s) - 1
	unit, ok := timeoutUnits[s[last]]
	if !ok || last < 1 || last > maxDigits {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:last], 10, 63)
	if err != nil {
		return 0, false
	}
	return time.Duration(min(n, uint64(maxTimeout/unit))) * unit, true
}

// trailer is how a call has ended.
func (c *wireCall) trailer(err error) http.Header {
	st := status.Convert(toStatus(err))
	out := make(http.Header, len(c.trailers)+3)
	putMetadata(out, c.trailers)
	out["grpc-status"] = []string{strconv.Itoa(int(st.Code()))}
	if m := st.Message(); m != "" {
		out["grpc-message"] = []string{percentEncode(m)}
	}
	if p := st.Proto(); len(p.GetDetails()) > 0 {
		if raw, err := proto.Marshal(p); err == nil {
			out["grpc-status-details-bin"] = []string{base64.RawStdEncoding.EncodeToString(raw)}
		}
	}
	return out
}

// finish ends the answer: with trailers, or with headers alone when nothing was sent before.
func (c *wireCall) finish(err error) {
	prefix := http.TrailerPrefix
	if !c.opened {
		prefix = ""
		putMetadata(c.w.Header(), c.headers)
		c.w.Header()["Content-Length"] = nil // gRPC has none
	}
	for name, values := range c.trailer(err) {
		c.w.Header()[prefix+name] = values
	}
}

func putMetadata(h http.Header, md metadata.MD) {
	for name, values := range md {
		if !strings.HasSuffix(name, "-bin") {
			h[name] = append(h[name], values...)
			continue
		}
		for _, v := range values {
			h[name] = append(h[name], base64.RawStdEncoding.EncodeToString([]byte(v)))
		}
	}
}

// percentEncode is how a status' message goes into a header.
func percentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	var out strings.Builder
	for i := range len(s) {
		if b := s[i]; b >= ' ' && b <= '~' && b != '%' {
			out.WriteByte(b)
		} else {
			out.Write([]byte{'%', hex[b>>4], hex[b&15]})
		}
	}
	return out.String()
}
