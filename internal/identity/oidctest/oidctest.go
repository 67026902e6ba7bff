// Package oidctest is a small OpenID Connect issuer for tests: real TLS, real signatures, keys that can be replaced.
package oidctest

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Issuer runs until its test ends.
type Issuer struct {
	// URL is what the issuer calls itself, CA who signed its certificate (PEM).
	URL string
	CA  []byte
	// Asked counts the requests for keys.
	Asked atomic.Int32

	t   testing.TB
	mu  sync.Mutex
	key jose.JSONWebKey
	n   int
}

const keyBits = 2048

// New starts an issuer.
func New(t testing.TB) *Issuer {
	i := &Issuer{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.Asked.Add(1)
		i.mu.Lock()
		defer i.mu.Unlock()
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{i.key.Public()}})
	})
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	i.URL = server.URL
	i.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	i.Rotate()
	return i
}

// Rotate replaces the issuer's key.
func (i *Issuer) Rotate() {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		i.t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.n++
	i.key = jose.JSONWebKey{Key: key, KeyID: "key-" + strconv.Itoa(i.n), Algorithm: "RS256", Use: "sig"}
}

// Token signs claims; issuer, times and the audience "karve" are added where they are not given.
func (i *Issuer) Token(claims map[string]any) string {
	i.t.Helper()
	now := time.Now()
	all := map[string]any{"iss": i.URL, "aud": "karve", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	for key, value := range claims {
		all[key] = value
	}
	i.mu.Lock()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: i.key}, nil)
	i.mu.Unlock()
	if err != nil {
		i.t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return token
}
