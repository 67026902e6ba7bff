package audit

import (
	"context"
	"net"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"k8s.io/apimachinery/pkg/types"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
	"karve.dev/karve/internal/identity"
)

// Metadata keys by which the gateway tells of the HTTP request that a call is made for. All but the first are believed
// from it only.
const (
	KeyID     = "audit-id"
	KeyURI    = "x-audit-uri"
	KeyAgent  = "x-audit-agent"
	KeySource = "x-audit-source"
)

// maxID and maxAgent bound what clients say about themselves.
const (
	maxID    = 64
	maxAgent = 1024
)

// readMetadata notes what a call says about itself.
func (r *Record) readMetadata(ctx context.Context) {
	md, _ := metadata.FromIncomingContext(ctx)
	if id := one(md, KeyID); id != "" && len(id) <= maxID {
		r.event.AuditID = types.UID(id)
	} else {
		r.event.AuditID = newID()
	}
	if fromGateway(ctx) {
		r.event.RequestURI, r.event.UserAgent, r.event.SourceIPs = one(md, KeyURI), one(md, KeyAgent), md[KeySource]
		return
	}
	r.event.UserAgent = one(md, "user-agent")
	if p, ok := peer.FromContext(ctx); ok {
		if host, _, err := net.SplitHostPort(p.Addr.String()); err == nil {
			r.event.SourceIPs = []string{host}
		}
	}
	if len(r.event.UserAgent) > maxAgent {
		r.event.UserAgent = r.event.UserAgent[:maxAgent] + "...TRUNCATED"
	}
}

func fromGateway(ctx context.Context) bool {
	caller, ok := identity.Peer(ctx)
	return ok && caller.Name == identity.UserGateway
}

func one(md metadata.MD, key string) string {
	if values := md[key]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// aside are what the gateway calls besides the call that stands for its client's request.
var aside = map[string]bool{
	systemv1.SystemService_Check_FullMethodName: true, systemv1.SystemService_GetMetrics_FullMethodName: true, systemv1.IssuerService_Discover_FullMethodName: true,
}

// quiet reports whether a call is left out: probes of the process, and what the gateway asks for its own or beside.
func quiet(ctx context.Context, method string) bool {
	if strings.HasPrefix(method, "/grpc.") {
		return true
	}
	return fromGateway(ctx) && (aside[method] || strings.HasPrefix(method, "/"+apiv1.DiscoveryService_ServiceDesc.ServiceName+"/"))
}

// pathOnly is the path of a call that is about no resource: the HTTP request's, or the method's own.
func (r *Record) pathOnly() string {
	if r.event.RequestURI != "" {
		path, _, _ := strings.Cut(r.event.RequestURI, "?")
		return path
	}
	return r.method
}
