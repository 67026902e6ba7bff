package identity

import (
	"crypto/tls"
	"crypto/x509"
	"sync"
	"time"
)

// renewing is a leaf certificate that is made at the first handshake and again when it is due. Where issue reads what
// somebody else renews, it is asked at most once in every.
type renewing struct {
	issue func(now time.Time) (*Leaf, error)
	every time.Duration

	mu    sync.Mutex
	leaf  *Leaf
	asked time.Time
}

func (r *renewing) get() (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.leaf != nil && (!r.leaf.due(now) && r.every == 0 || now.Sub(r.asked) < r.every) {
		return &r.leaf.TLS, nil
	}
	leaf, err := r.issue(now)
	r.asked = now
	switch {
	case err == nil:
		r.leaf = leaf
	case r.leaf == nil || now.After(r.leaf.TLS.Leaf.NotAfter):
		return nil, err
	}
	return &r.leaf.TLS, nil
}

func (r *renewing) current() *Leaf {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leaf
}

func (c *Cluster) renewing(spec Spec) *renewing {
	return &renewing{issue: func(now time.Time) (*Leaf, error) { return c.ca.issue(spec, now) }}
}

// ServerTLS returns the configuration of a listener with the names in spec. A client may present a certificate; one
// that is not from this cluster's CA ends the handshake. The certificate renews itself.
func (c *Cluster) ServerTLS(spec Spec) *tls.Config { return serverTLS(c.renewing(spec).get, c.ca.pool) }

// ClientTLS returns the configuration for calling this cluster's servers as user. The certificate renews itself.
func (c *Cluster) ClientTLS(user User) *tls.Config {
	return clientTLS(c.renewing(ClientSpec(user)).get, c.ca.pool)
}

func serverTLS(get func() (*tls.Certificate, error), pool *x509.CertPool) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return get() },
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      pool,
	}
}

func clientTLS(get func() (*tls.Certificate, error), pool *x509.CertPool) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return get() },
		RootCAs:              pool,
	}
}
