package gateway

import (
	"context"
	"net"
	"net/http"
	"strings"

	"google.golang.org/grpc/metadata"
)

// Metadata keys by which the API service learns of the HTTP request that a call is made for, where it records calls.
const (
	keyAuditID     = "audit-id"
	keyAuditURI    = "x-audit-uri"
	keyAuditAgent  = "x-audit-agent"
	keyAuditSource = "x-audit-source"
)

// maxAgent is how much of what a client calls itself is recorded.
const maxAgent = 1024

// forward returns ctx with what the API service must know of a request: its credentials and, where calls are recorded,
// what stands in the record.
func (g *Gateway) forward(ctx context.Context, w *response, r *http.Request) (context.Context, error) {
	ctx, err := g.credentials.forward(ctx, r)
	if err != nil || !g.cfg.Audit {
		return ctx, err
	}
	md, _ := metadata.FromOutgoingContext(ctx)
	if md == nil {
		md = metadata.MD{}
	}
	md[keyAuditURI] = []string{visible(r.URL.RequestURI())}
	if ids := w.Header()["Audit-Id"]; len(ids) > 0 {
		md[keyAuditID] = []string{visible(ids[0])}
	}
	if agent := visible(r.UserAgent()); agent != "" {
		if len(agent) > maxAgent {
			agent = agent[:maxAgent] + "...TRUNCATED"
		}
		md[keyAuditAgent] = []string{agent}
	}
	if sources := sourcesOf(r); len(sources) > 0 {
		md[keyAuditSource] = sources
	}
	return metadata.NewOutgoingContext(ctx, md), nil
}

// sourcesOf returns the addresses that a request came through, the client's first, by what proxies say and the
// connection shows.
func sourcesOf(r *http.Request) []string {
	var out []string
	for _, header := range []string{"X-Forwarded-For", "X-Real-Ip"} {
		for _, one := range strings.Split(r.Header.Get(header), ",") {
			if ip := net.ParseIP(strings.TrimSpace(one)); ip != nil && (header != "X-Real-Ip" || len(out) == 0) {
				out = append(out, ip.String())
			}
		}
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		if n := len(out); n == 0 || out[n-1] != host {
			out = append(out, host)
		}
	}
	return out
}

// visible returns s with every character that metadata cannot carry replaced.
func visible(s string) string {
	if printable(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
