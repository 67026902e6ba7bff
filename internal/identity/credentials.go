package identity

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// recheck is how often the files of a process's certificate are looked at again for a renewed one.
const recheck = time.Minute

// Credentials are what one process has when it does not hold the cluster's keys: its own certificate and key, and the
// CA's certificate, in files. They are read again when they change, so that whoever renews them needs no restart.
// Safe for concurrent use.
type Credentials struct {
	paths  credentialPaths
	pool   *x509.CertPool
	caPEM  []byte
	cached renewing
}

type credentialPaths struct{ ca, cert, key string }

func pathsIn(dir, name string) credentialPaths {
	return credentialPaths{ca: filepath.Join(dir, caCert), cert: filepath.Join(dir, name+".crt"), key: filepath.Join(dir, name+".key")}
}

// LoadCredentials reads dir/ca.crt, dir/<name>.crt and dir/<name>.key.
func LoadCredentials(dir, name string) (*Credentials, error) {
	c := &Credentials{paths: pathsIn(dir, name), pool: x509.NewCertPool()}
	var err error
	if c.caPEM, err = os.ReadFile(c.paths.ca); err != nil {
		return nil, fmt.Errorf("read the cluster's CA: %w", err)
	}
	if !c.pool.AppendCertsFromPEM(c.caPEM) {
		return nil, fmt.Errorf("read the cluster's CA: %s holds no certificate", c.paths.ca)
	}
	if c.cached.leaf, err = c.paths.read(); err != nil {
		return nil, err
	}
	c.cached.issue = func(time.Time) (*Leaf, error) { return c.paths.read() }
	c.cached.every = recheck
	return c, nil
}

func (p credentialPaths) read() (*Leaf, error) {
	certPEM, err := os.ReadFile(p.cert)
	if err != nil {
		return nil, fmt.Errorf("read a certificate: %w", err)
	}
	keyPEM, err := os.ReadFile(p.key)
	if err != nil {
		return nil, fmt.Errorf("read a certificate's key: %w", err)
	}
	leaf, err := newLeaf(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.cert, err)
	}
	return leaf, nil
}

// User returns whom the certificate names.
func (c *Credentials) User() User {
	leaf := c.cached.current()
	return User{Name: leaf.TLS.Leaf.Subject.CommonName, Groups: leaf.TLS.Leaf.Subject.Organization}
}

// CAPEM returns the CA's certificate as PEM. It must not be changed.
func (c *Credentials) CAPEM() []byte { return c.caPEM }

// ServerTLS is like Cluster.ServerTLS; the certificate must be made for the names that clients dial.
func (c *Credentials) ServerTLS() *tls.Config { return serverTLS(c.cached.get, c.pool) }

// ClientTLS returns the configuration for calling the cluster's servers as User.
func (c *Credentials) ClientTLS() *tls.Config { return clientTLS(c.cached.get, c.pool) }

// WriteCredentials makes the files that LoadCredentials reads, in dir, unless they are there, fit spec and have more
// than 30% of their life ahead.
func (c *Cluster) WriteCredentials(dir, name string, spec Spec) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("credentials of %s: %w", name, err)
	}
	paths := pathsIn(dir, name)
	if have, err := os.ReadFile(paths.ca); err != nil || !bytes.Equal(have, c.CAPEM()) {
		if err := writeFile(paths.ca, c.CAPEM(), 0o644); err != nil {
			return err
		}
	}
	have, err := paths.read()
	if err == nil && !have.due(time.Now()) && have.fits(spec) && have.TLS.Leaf.CheckSignatureFrom(c.CA()) == nil {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errMismatch) {
		return err
	}
	leaf, err := c.Issue(spec)
	if err != nil {
		return err
	}
	if err := writeFile(paths.key, leaf.KeyPEM, 0o600); err != nil {
		return err
	}
	return writeFile(paths.cert, leaf.CertPEM, 0o644)
}

// fits reports whether the certificate says what spec asks for.
func (l *Leaf) fits(spec Spec) bool {
	cert := l.TLS.Leaf
	if cert.Subject.CommonName != spec.CommonName || !slices.Equal(cert.Subject.Organization, spec.Organizations) ||
		!slices.Equal(cert.DNSNames, spec.DNSNames) || !slices.Equal(cert.ExtKeyUsage, spec.usages()) || len(cert.IPAddresses) != len(spec.IPs) {
		return false
	}
	for i, ip := range cert.IPAddresses {
		if !ip.Equal(spec.IPs[i]) {
			return false
		}
	}
	return true
}
