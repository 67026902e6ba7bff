package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/time/rate"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/cel"

	"karve.dev/karve/internal/identity"
)

// Bounds of what is asked of an issuer.
const (
	askTimeout = 10 * time.Second
	maxAnswer  = 1 << 20
	// retryAfter spaces the tries to find out about an issuer that did not answer.
	retryAfter = 5 * time.Second
	// keyBurst and keyEvery bound how often keys are fetched for tokens with keys that nobody knows.
	keyBurst = 5
	keyEvery = 10 * time.Second
)

// issuer verifies the tokens of one issuer.
type issuer struct {
	settings   *apiserver.JWTAuthenticator
	mapper     cel.CELMapper
	algorithms []string
	client     *http.Client
	keyLimit   *rate.Limiter

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	tried    time.Time
	failed   error
}

func newIssuer(from *apiserver.JWTAuthenticator, mapper cel.CELMapper, algorithms []string) (*issuer, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if ca := from.Issuer.CertificateAuthority; ca != "" {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(ca)) {
			return nil, fmt.Errorf("issuer %s: its certificate authority holds no certificate", from.Issuer.URL)
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	}
	i := &issuer{settings: from, mapper: mapper, algorithms: algorithms, keyLimit: rate.NewLimiter(rate.Every(keyEvery), keyBurst)}
	i.client = &http.Client{Transport: bounded{transport}, Timeout: askTimeout}
	return i, nil
}

// bounded cuts answers that are longer than any issuer's should be.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxAnswer), res.Body}
	return res, nil
}

// ready returns what verifies tokens. The first call asks the issuer where its keys are.
func (i *issuer) ready(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.verifier != nil {
		return i.verifier, nil
	}
	if i.failed != nil && time.Since(i.tried) < retryAfter {
		return nil, i.failed
	}
	var where string
	where, i.failed = i.discover(ctx)
	i.tried = time.Now() // not before: who has waited meanwhile gets the same answer, and does not wait as long again
	if i.failed != nil {
		return nil, i.failed
	}
	keys := limitedKeys{i.keyLimit, i.client.Transport}
	remote := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), &http.Client{Transport: keys, Timeout: askTimeout}), where)
	// Which audiences are good is a list here, and checked below.
	i.verifier = oidc.NewVerifier(i.settings.Issuer.URL, remote, &oidc.Config{SkipClientIDCheck: true, SupportedSigningAlgs: i.algorithms})
	return i.verifier, nil
}

// limitedKeys keeps made-up tokens from making us flood the issuer: keys that are known are not fetched again, unknown
// ones only so often.
type limitedKeys struct {
	limit *rate.Limiter
	next  http.RoundTripper
}

func (l limitedKeys) RoundTrip(r *http.Request) (*http.Response, error) {
	if !l.limit.Allow() {
		return nil, errors.New("the issuer's keys were fetched too often")
	}
	return l.next.RoundTrip(r)
}

// discover asks the issuer where its keys are.
func (i *issuer) discover(ctx context.Context) (keys string, err error) {
	at := i.settings.Issuer.DiscoveryURL
	if at == "" {
		at = strings.TrimSuffix(i.settings.Issuer.URL, "/") + "/.well-known/openid-configuration"
	}
	// Whoever asked first may go away; the others wait for the same answer.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", fmt.Errorf("ask the issuer: %w", err)
	}
	res, err := i.client.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask the issuer: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask the issuer: %s: %s", at, res.Status)
	}
	var doc struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
		return "", fmt.Errorf("read what the issuer says: %w", err)
	}
	switch {
	case doc.Issuer != i.settings.Issuer.URL:
		return "", fmt.Errorf("the issuer calls itself %q, not %q", doc.Issuer, i.settings.Issuer.URL)
	case !strings.HasPrefix(doc.JWKSURI, "https://"):
		return "", fmt.Errorf("the issuer's keys are not at an https URL: %q", doc.JWKSURI)
	}
	return doc.JWKSURI, nil
}

// authenticate verifies a token and says whom it stands for.
func (i *issuer) authenticate(ctx context.Context, token string) (identity.User, time.Time, error) {
	verifier, err := i.ready(ctx)
	if err != nil {
		return identity.User{}, time.Time{}, err
	}
	verified, err := verifier.Verify(ctx, token)
	if err != nil {
		return identity.User{}, time.Time{}, fmt.Errorf("verify token: %w", err)
	}
	if !slices.ContainsFunc(verified.Audience, func(a string) bool { return slices.Contains(i.settings.Issuer.Audiences, a) }) {
		return identity.User{}, time.Time{}, fmt.Errorf("verify token: expected audience in %q got %q", i.settings.Issuer.Audiences, verified.Audience)
	}
	var raw json.RawMessage
	if err := verified.Claims(&raw); err != nil {
		return identity.User{}, time.Time{}, fmt.Errorf("read the token's claims: %w", err)
	}
	u, err := i.user(ctx, raw)
	return u, verified.Expiry, err
}
