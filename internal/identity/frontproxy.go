package identity

import (
	"crypto/tls"
	"fmt"
	"time"
)

// FrontProxyName is the name in the certificate of who may tell other API servers for whom a request is.
const FrontProxyName = "front-proxy-client"

// FrontProxy is an authority for nothing but one certificate: with it the API service proves to the servers of aggregated
// APIs that it has authenticated the users that it names. No certificate of the cluster's own authority, which signs
// for many, can stand for it.
type FrontProxy struct {
	ca   *authority
	leaf *renewing
}

// FrontProxy returns the authority, made or read at the first call.
func (c *Cluster) FrontProxy() (*FrontProxy, error) { return c.front() }

func loadOrCreateFrontProxy(pki, cluster string) (*FrontProxy, error) {
	unlock, err := lockDir(pki)
	if err != nil {
		return nil, err
	}
	defer unlock()
	ca, err := loadOrCreateAuthority(pki, "front-proxy-ca", cluster+"-front-proxy-ca")
	if err != nil {
		return nil, fmt.Errorf("front proxy: %w", err)
	}
	issue := func(now time.Time) (*Leaf, error) { return ca.issue(Spec{CommonName: FrontProxyName}, now) }
	return &FrontProxy{ca: ca, leaf: &renewing{issue: issue}}, nil
}

// CAPEM returns the authority's certificate as PEM. It must not be changed.
func (f *FrontProxy) CAPEM() []byte { return f.ca.pem }

// Certificate returns the client certificate, which is renewed in time.
func (f *FrontProxy) Certificate() (*tls.Certificate, error) { return f.leaf.get() }
