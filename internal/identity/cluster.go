package identity

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options of LoadOrCreate.
type Options struct {
	// Name is the cluster's name; it goes into the CA's subject.
	Name string
	// Issuer is the URL that service-account tokens name as their issuer.
	Issuer string
}

// DefaultIssuer is the issuer of service-account tokens where none is configured.
const DefaultIssuer = "https://kubernetes.default.svc.cluster.local"

// Cluster holds the keys that make a cluster: its certificate authority and its service-account signing key. Whoever
// has one can be anybody. It is safe for concurrent use.
type Cluster struct {
	dir    string
	ca     *authority
	issuer string
	tokens func() (*Tokens, error)
	front  func() (*FrontProxy, error)
}

// LoadOrCreate reads the keys below dir/pki and makes what is missing. Several processes may call it at once with
// the same dir. Apart from the CA, everything is read when it is first needed.
func LoadOrCreate(dir string, opts Options) (*Cluster, error) {
	pki := filepath.Join(dir, "pki")
	if err := os.MkdirAll(pki, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the cluster's keys: %w", err)
	}
	unlock, err := lockDir(pki)
	if err != nil {
		return nil, err
	}
	defer unlock()
	name := opts.Name
	if name == "" {
		name = "karve"
	}
	ca, err := loadOrCreateAuthority(pki, "ca", name+"-ca")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: pki, ca: ca, issuer: opts.Issuer}
	if c.issuer == "" {
		c.issuer = DefaultIssuer
	}
	c.front = sync.OnceValues(func() (*FrontProxy, error) { return loadOrCreateFrontProxy(pki, name) })
	c.tokens = sync.OnceValues(func() (*Tokens, error) { return loadOrCreateTokens(pki, c.issuer) })
	return c, nil
}

// lockDir keeps a second process from making keys in pki at the same time. The lock ends with the process, too.
func lockDir(pki string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(pki, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the folder of the cluster's keys: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the folder of the cluster's keys: %w", err)
	}
	return func() { f.Close() }, nil
}

// CA returns the authority's certificate.
func (c *Cluster) CA() *x509.Certificate { return c.ca.cert }

// CAPEM returns the authority's certificate as PEM. It must not be changed.
func (c *Cluster) CAPEM() []byte { return c.ca.pem }

// Tokens returns the signer and verifier of service-account tokens, made or read at the first call.
func (c *Cluster) Tokens() (*Tokens, error) { return c.tokens() }

// Issue makes a key and a certificate for it. Nothing is stored.
func (c *Cluster) Issue(spec Spec) (*Leaf, error) { return c.ca.issue(spec, time.Now()) }

// Sign returns a certificate (PEM) for somebody else's public key, as for a signing request.
func (c *Cluster) Sign(public crypto.PublicKey, spec Spec) ([]byte, error) {
	der, err := c.ca.sign(public, spec, time.Now())
	if err != nil {
		return nil, err
	}
	return encodePEM("CERTIFICATE", der), nil
}
