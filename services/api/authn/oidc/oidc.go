// Package oidc authenticates by the tokens of OpenID Connect issuers: those named in a file of Kubernetes'
// AuthenticationConfiguration, or the one of the --oidc-* settings.
package oidc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/apis/apiserver"

	"karve.dev/karve/internal/identity"
)

// Config of an Authenticator: File or Simple.
type Config struct {
	// File holds an AuthenticationConfiguration. It is read again when it has changed.
	File string
	// Simple is one issuer by settings.
	Simple *Simple
	// OwnIssuers are those of the cluster itself, which nobody else may claim to be.
	OwnIssuers []string
	// Log is nil for none.
	Log *zap.Logger
}

// ErrUnknownIssuer says that a token is of no issuer that is configured.
var ErrUnknownIssuer = errors.New("no configured issuer made the token")

// recheck spaces the looks at the file.
const recheck = 10 * time.Second

// Authenticator verifies tokens. It is safe for concurrent use. Issuers are asked for their keys when the first token
// comes.
type Authenticator struct {
	config Config
	now    atomic.Pointer[settings]

	mu      sync.Mutex
	checked time.Time
	stamp   stamp
}

// settings are what was read at one time; they are replaced, never changed.
type settings struct {
	issuers   map[string]*issuer
	anonymous *apiserver.AnonymousAuthConfig
}

// stamp tells whether a file has changed.
type stamp struct {
	modified time.Time
	size     int64
}

// New reads and checks the settings.
func New(config Config) (*Authenticator, error) {
	if config.Log == nil {
		config.Log = zap.NewNop()
	}
	config.Log = config.Log.Named("oidc")
	a := &Authenticator{config: config, checked: time.Now()}
	if config.File != "" {
		a.stamp = stampOf(config.File)
	}
	read, err := a.read()
	if err != nil {
		return nil, err
	}
	a.now.Store(read)
	return a, nil
}

func (a *Authenticator) read() (*settings, error) {
	var from *apiserver.AuthenticationConfiguration
	var err error
	algorithms := allAlgorithms
	if a.config.File != "" {
		from, err = load(a.config.File)
	} else {
		from, err = a.config.Simple.configuration()
		algorithms = a.config.Simple.algorithms()
	}
	if err != nil {
		return nil, err
	}
	return compile(from, a.config.OwnIssuers, algorithms)
}

func stampOf(file string) stamp {
	info, err := os.Stat(file)
	if err != nil {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size()}
}

// current returns the settings, read again when the file has changed. What cannot be used leaves those from before.
func (a *Authenticator) current() *settings {
	if a.config.File == "" || !a.mu.TryLock() {
		return a.now.Load()
	}
	defer a.mu.Unlock()
	if time.Since(a.checked) < recheck {
		return a.now.Load()
	}
	a.checked = time.Now()
	seen := stampOf(a.config.File)
	if seen == a.stamp || seen == (stamp{}) {
		return a.now.Load()
	}
	a.stamp = seen
	read, err := a.read()
	if err != nil {
		a.config.Log.Error("the changed settings of authentication cannot be used", zap.String("file", a.config.File), zap.Error(err))
		return a.now.Load()
	}
	a.config.Log.Info("settings of authentication have changed", zap.Int("issuers", len(read.issuers)))
	a.now.Store(read)
	return read
}

// Authenticate returns whom a token stands for, and when it ends. ErrUnknownIssuer says that it is none of ours.
func (a *Authenticator) Authenticate(ctx context.Context, token string) (identity.User, time.Time, error) {
	name, err := issuerOf(token)
	if err != nil {
		return identity.User{}, time.Time{}, err
	}
	from := a.current().issuers[name]
	if from == nil {
		return identity.User{}, time.Time{}, ErrUnknownIssuer
	}
	u, expires, err := from.authenticate(ctx, token)
	if err != nil {
		return identity.User{}, time.Time{}, fmt.Errorf("oidc: %w", err)
	}
	return u, expires, nil
}

// Anonymous reports whether callers without credentials may ask for a path; the file may forbid it.
func (a *Authenticator) Anonymous(path string) bool {
	allowed := a.current().anonymous
	if allowed == nil {
		return true
	}
	if !allowed.Enabled || len(allowed.Conditions) == 0 {
		return allowed.Enabled
	}
	for _, c := range allowed.Conditions {
		if c.Path == path {
			return true
		}
	}
	return false
}

// issuerOf reads who claims to have made a token: it says whose keys to check it with, and nothing more.
func issuerOf(token string) (string, error) {
	parsed, err := jwt.ParseSigned(token, joseAlgorithms)
	if err != nil {
		return "", ErrUnknownIssuer
	}
	var claims jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil || claims.Issuer == "" {
		return "", ErrUnknownIssuer
	}
	return claims.Issuer, nil
}

// joseAlgorithms are the signatures that tokens may have: those with public keys.
var joseAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512,
}

var allAlgorithms = func() []string {
	out := make([]string, len(joseAlgorithms))
	for i, a := range joseAlgorithms {
		out[i] = string(a)
	}
	return out
}()
