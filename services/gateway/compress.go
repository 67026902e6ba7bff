package gateway

import (
	"compress/gzip"
	"net"
	"net/http"
	"strings"
	"sync"
)

// gzipThreshold is the size from which compression is worth its processor time, as in Kubernetes.
const gzipThreshold = 128 << 10

var gzipHeader = []string{"gzip"}

var gzipWriters = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	return z
}}

// wantsGzip reports whether a large answer should be compressed: when the client takes it and is on another machine. To
// send the plain bytes over loopback costs less than to compress them.
func wantsGzip(r *http.Request) bool {
	return acceptsGzip(r.Header.Get("Accept-Encoding")) && !loopback(r.RemoteAddr)
}

func acceptsGzip(header string) bool {
	for header != "" {
		var one string
		one, header, _ = strings.Cut(header, ",")
		coding, params, _ := strings.Cut(one, ";")
		if coding = strings.TrimSpace(coding); coding != "gzip" && coding != "*" {
			continue
		}
		q := strings.ReplaceAll(params, " ", "")
		return q != "q=0" && !strings.HasPrefix(q, "q=0.0")
	}
	return false
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (b *body) writeGzip(w *response) {
	w.Header()["Content-Encoding"] = gzipHeader
	w.WriteHeader(b.code)
	z := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(z)
	z.Reset(w)
	b.send(z)
	_ = z.Close()
}
