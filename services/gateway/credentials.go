package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/metadata"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"karve.dev/karve/internal/identity"
)

// Metadata keys by which the API service learns who calls.
const (
	keyAuthorization = "authorization"
	keyRemoteUser    = "x-remote-user"
	keyRemoteGroup   = "x-remote-group"
	keyRemoteUID     = "x-remote-uid"
	keyCredential    = "x-remote-credential-id"
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
	// latest is what the connection's latest request with a token became: a client keeps its token for long.
	latest atomic.Pointer[bearing]
}

// bearing is a token as metadata, together with the connection's certificate.
type bearing struct {
	token string
	md    metadata.MD
	// proven: the API has taken the token.
	proven atomic.Bool
}

type peerKey struct{}

func (v *verifier) connContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, &peer{})
}

// caller returns the metadata that names the owner of the connection's client certificate, nil when it has none.
func (v *verifier) caller(p *peer, r *http.Request) (metadata.MD, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
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
	if !printable(leaf.Subject.CommonName) || !printable(strings.Join(leaf.Subject.Organization, "")) {
		p.err = apierrors.NewUnauthorized("the client certificate's subject has characters other than printable ASCII")
		return
	}
	uid, err := identity.CertificateUID(leaf)
	if err != nil || !printable(uid) {
		p.err = apierrors.NewUnauthorized("the client certificate's UID cannot be used")
		return
	}
	p.notAfter = leaf.NotAfter
	sum := sha256.Sum256(leaf.Raw)
	p.md = metadata.MD{keyRemoteUser: {leaf.Subject.CommonName}, keyCredential: {"X509SHA256=" + hex.EncodeToString(sum[:])}}
	if uid != "" {
		p.md[keyRemoteUID] = []string{uid}
	}
	if groups := leaf.Subject.Organization; len(groups) > 0 {
		p.md[keyRemoteGroup] = groups
	}
}

// forward returns ctx with the request's credentials as outgoing metadata. Nothing else of the client's headers becomes
// metadata, so no client can claim to be somebody.
func (v *verifier) forward(ctx context.Context, r *http.Request) (context.Context, error) {
	p, ok := r.Context().Value(peerKey{}).(*peer)
	if !ok {
		p = &peer{}
	}
	token := bearerOf(r)
	md, err := v.caller(p, r)
	if err != nil {
		if token == "" {
			return nil, err
		}
		md = nil
	}
	if token != "" {
		if md, err = p.withToken(md, token); err != nil {
			return nil, err
		}
	}
	if impersonates(r.Header) {
		if md, err = withImpersonation(md, r.Header); err != nil {
			return nil, err
		}
	}
	if md == nil {
		return ctx, nil
	}
	return metadata.NewOutgoingContext(ctx, md), nil
}

func (p *peer) withToken(md metadata.MD, token string) (metadata.MD, error) {
	if known := p.latest.Load(); known != nil && known.token == token {
		return known.md, nil
	}
	if !printable(token) {
		return nil, apierrors.NewUnauthorized("the bearer token has characters other than printable ASCII")
	}
	out := maps.Clone(md)
	if out == nil {
		out = metadata.MD{}
	}
	out[keyAuthorization] = []string{"Bearer " + token}
	p.latest.Store(&bearing{token: token, md: out})
	return out, nil
}

// webSocketToken begins a WebSocket subprotocol that carries a token: browsers cannot set headers there.
const webSocketToken = "base64url.bearer.authorization.k8s.io."

func bearerOf(r *http.Request) string {
	value := r.Header.Get("Authorization")
	const scheme = "bearer "
	if len(value) > len(scheme) && strings.EqualFold(value[:len(scheme)], scheme) {
		return strings.TrimSpace(value[len(scheme):])
	}
	if value != "" || !wsstream.IsWebSocketRequest(r) {
		return ""
	}
	for _, protocol := range strings.Split(r.Header.Get("Sec-Websocket-Protocol"), ",") {
		if encoded, ok := strings.CutPrefix(strings.TrimSpace(protocol), webSocketToken); ok {
			token, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(encoded, "="))
			if err == nil {
				return string(token)
			}
		}
	}
	return ""
}

func impersonates(h http.Header) bool {
	for k := range h {
		if strings.HasPrefix(k, impersonate) {
			return true
		}
	}
	return false
}

// withImpersonation adds Impersonate-User, -Group, -Uid and -Extra-<key> as metadata of the same names.
func withImpersonation(md metadata.MD, h http.Header) (metadata.MD, error) {
	out := maps.Clone(md)
	if out == nil {
		out = metadata.MD{}
	}
	for name, values := range h {
		if !strings.HasPrefix(name, impersonate) {
			continue
		}
		for _, value := range values {
			if !printable(value) {
				return nil, apierrors.NewBadRequest("the header " + name + " has characters other than printable ASCII")
			}
		}
		key := strings.ToLower(name)
		if rest, ok := strings.CutPrefix(key, extraPrefix); ok && strings.TrimLeft(rest, metadataKey) != "" {
			for _, value := range values {
				out[extraPairs] = append(out[extraPairs], rest+"="+value)
			}
			continue
		}
		out[key] = values
	}
	return out, nil
}

// The keys of extra fields that are impersonated; those with characters that no key of metadata can have, as %, go as
// pairs key=value instead.
const (
	extraPrefix = "impersonate-extra-"
	extraPairs  = "impersonate-extra"
	metadataKey = "abcdefghijklmnopqrstuvwxyz0123456789-_."
)

// printable reports whether a value can be sent as gRPC metadata.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
