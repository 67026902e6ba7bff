// Package authn finds out who calls: by client certificate, service-account or bootstrap token, or by what the
// gateway says about its HTTPS client.
package authn

import (
	"context"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/internal/identity"
)

// Metadata keys that say who calls. The x-remote ones are believed from identity.UserGateway only.
const (
	keyAuthorization = "authorization"
	keyRemoteUser    = "x-remote-user"
	keyRemoteGroup   = "x-remote-group"
	keyRemoteUID     = "x-remote-uid"
	prefixExtra      = "x-remote-extra-"
	// keyCredential has a key of its own: that of the extra field has characters that metadata cannot have.
	keyCredential = "x-remote-credential-id"
)

// Objects is what tokens are checked against. It is asked on every request with a token: answer from memory.
type Objects interface {
	// Lookup returns the uid of a ServiceAccount, Pod, Secret or Node (namespace empty) and when it was marked for
	// deletion, if it was. Ok is false when there is no such object.
	Lookup(ctx context.Context, kind, namespace, name string) (uid string, deleted *time.Time, ok bool, err error)
	// Secret returns a secret, nil when there is none.
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Issuers verify the tokens of others; *oidc.Authenticator does.
type Issuers interface {
	// Authenticate returns whom a token stands for and when it ends.
	Authenticate(ctx context.Context, token string) (u identity.User, expires time.Time, err error)
}

// Config of an Authenticator.
type Config struct {
	// Tokens returns what verifies service-account tokens; identity.Cluster's method of that name does.
	Tokens func() (*identity.Tokens, error)
	// Audiences are what tokens for the API must name one of; empty means the tokens' issuer.
	Audiences []string
	Objects   Objects
	// Issuers are asked about tokens that are not the cluster's own; nil for none.
	Issuers Issuers
	// SecretUsed is told when somebody calls with a token that is bound to a Secret; nil tells nobody. It must not block.
	SecretUsed func(namespace, name string)
	// Log gets the reasons for which credentials were refused, which callers are not told. Nil for none.
	Log *zap.Logger
}

// Authenticator names the caller of a request. It is safe for concurrent use.
type Authenticator struct {
	config Config
	cache  *tokenCache
}

// New returns an Authenticator.
func New(config Config) *Authenticator {
	if config.Log == nil {
		config.Log = zap.NewNop()
	}
	return &Authenticator{config: config, cache: newTokenCache(maxCached)}
}

// Anonymous returns the caller without credentials.
func Anonymous() identity.User {
	return identity.User{Name: identity.UserAnonymous, Groups: []string{identity.GroupUnauthenticated}}
}

// Authenticate returns the caller, by the peer and the metadata in ctx. A credential that is not good is an
// Unauthorized StatusError; without any the caller is system:anonymous.
func (a *Authenticator) Authenticate(ctx context.Context) (identity.User, error) {
	if token := bearer(ctx); token != "" {
		u, err := a.authenticateToken(ctx, token)
		if err != nil {
			a.config.Log.Debug("token refused", zap.Error(err))
			return identity.User{}, apierrors.NewUnauthorized("Unauthorized")
		}
		return u, nil
	}
	peer, ok := identity.Peer(ctx)
	if ok && peer.Name == identity.UserGateway {
		peer, ok = forwarded(ctx, peer)
	}
	if !ok {
		return Anonymous(), nil
	}
	return withAuthenticated(peer), nil
}

// bearer returns the token of the authorization metadata. Other schemes are no credential that we know.
func bearer(ctx context.Context) string {
	for _, v := range metadata.ValueFromIncomingContext(ctx, keyAuthorization) {
		scheme, token, _ := strings.Cut(strings.TrimSpace(v), " ")
		if strings.EqualFold(scheme, "bearer") {
			return strings.TrimSpace(token)
		}
	}
	return ""
}

// forwarded returns the HTTPS client that the gateway calls for; for calls of its own it names itself.
func forwarded(ctx context.Context, gateway identity.User) (identity.User, bool) {
	name := first(metadata.ValueFromIncomingContext(ctx, keyRemoteUser))
	if name == "" {
		return identity.User{}, false
	}
	if name == gateway.Name {
		return gateway, true
	}
	md, _ := metadata.FromIncomingContext(ctx)
	u := identity.User{Name: name, UID: first(md[keyRemoteUID]), Groups: md[keyRemoteGroup], Extra: extras(md, prefixExtra)}
	if id := md[keyCredential]; len(id) > 0 {
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		u.Extra[identity.ExtraCredentialID] = id
	}
	return u, true
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func extras(md metadata.MD, prefix string) map[string][]string {
	var out map[string][]string
	for key, values := range md {
		if name, ok := strings.CutPrefix(key, prefix); ok && name != "" {
			if out == nil {
				out = map[string][]string{}
			}
			out[unescape(name)] = values
		}
	}
	return out
}

// withAuthenticated adds the group that everybody with a name is in.
func withAuthenticated(u identity.User) identity.User {
	if u.Name == identity.UserAnonymous || slices.Contains(u.Groups, identity.GroupAuthenticated) {
		return u
	}
	groups := make([]string, 0, len(u.Groups)+1)
	u.Groups = append(append(groups, u.Groups...), identity.GroupAuthenticated)
	return u
}
