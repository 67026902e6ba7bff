package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Metadata keys by which the API service learns who calls.
const (
	keyAuthorization = "authorization"
	keyRemoteUser    = "x-remote-user"
	keyRemoteGroup   = "x-remote-group"
	impersonate      = "Impersonate-"
)

// verifier checks client certificates, once a connection.
type verifier struct{ roots *x509.CertPool }

func newVerifier(config *tls.Config) *verifier {
	if config == nil {
		return &verifier{}
	}
	return &verifier{roots: config.ClientCAs}
}

// peer is what a connection's client certificate says; it is found at the connection's first request.
type peer struct {
	once     sync.Once
	md       metadata.MD
	notAfter time.Time
	err      error
}

type peerKey struct{}

func (v *verifier) connContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, &peer{})
}

// caller returns the metadata that names the owner of the request's client certificate, nil when it has none.
func (v *verifier) caller(r *http.Request) (metadata.MD, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	p, ok := r.Context().Value(peerKey{}).(*peer)
	if !ok {
		p = &peer{}
	}
	p.once.Do(func() { v.verify(p, r.TLS.PeerCertificates) })
	if p.err == nil && time.Now().After(p.notAfter) {
		return nil, apierrors.NewUnauthorized("the client certificate has expired")
	}
	return p.md, p.err
}

func (v *verifier) verify(p *peer, certs []*x509.Certificate) {
	opts := x509.VerifyOptions{Roots: v.roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if opts.Roots == nil {
		// Without an authority of our own no certificate is worth anything: the system's do not name our users.
		opts.Roots = x509.NewCertPool()
	}
	for _, c := range certs[1:] {
		opts.Intermediates.AddCert(c)
	}
	leaf := certs[0]
	if _, err := leaf.Verify(opts); err != nil {
		p.err = apierrors.NewUnauthorized("the client certificate is not valid for this cluster: " + err.Error())
		return
	}
	p.notAfter = leaf.NotAfter
	p.md = metadata.MD{keyRemoteUser: {leaf.Subject.CommonName}}
	if groups := leaf.Subject.Organization; len(groups) > 0 {
		p.md[keyRemoteGroup] = groups
	}
}

// forward returns ctx with the request's credentials as outgoing metadata. Nothing else of the client's headers becomes
// metadata, so no client can claim to be somebody.
func (v *verifier) forward(ctx context.Context, r *http.Request) (context.Context, error) {
	bearer := bearerOf(r)
	md, err := v.caller(r)
	if err != nil {
		if bearer == "" {
			return nil, err
		}
		md = nil
	}
	if bearer == "" && !impersonates(r.Header) {
		if md == nil {
			return ctx, nil
		}
		return metadata.NewOutgoingContext(ctx, md), nil
	}
	out := make(metadata.MD, len(md)+2)
	for k, values := range md {
		out[k] = values
	}
	if bearer != "" {
		out[keyAuthorization] = []string{"Bearer " + bearer}
	}
	if err := addImpersonation(out, r.Header); err != nil {
		return nil, err
	}
	return metadata.NewOutgoingContext(ctx, out), nil
}

func bearerOf(r *http.Request) string {
	value := r.Header.Get("Authorization")
	const scheme = "bearer "
	if len(value) <= len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return ""
	}
	return strings.TrimSpace(value[len(scheme):])
}

func impersonates(h http.Header) bool {
	for k := range h {
		if strings.HasPrefix(k, impersonate) {
			return true
		}
	}
	return false
}

// addImpersonation forwards Impersonate-User, -Group, -Uid and -Extra-<key> as metadata of the same names.
func addImpersonation(md metadata.MD, h http.Header) error {
	for k, values := range h {
		if strings.HasPrefix(k, impersonate) {
			md[strings.ToLower(k)] = values
		}
	}
	for _, values := range md {
		for _, value := range values {
			if !printable(value) {
				return apierrors.NewBadRequest("a credential or impersonation header has characters other than printable ASCII")
			}
		}
	}
	return nil
}

// printable reports whether a value can be sent as gRPC metadata.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
