// Package identity holds who somebody is in a cluster: users as the API sees them, the cluster's certificate
// authority, certificates and service-account tokens.
package identity

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
)

// Names that Kubernetes gives to the parts of a cluster and to everybody. RBAC's bootstrap roles are bound to them.
const (
	GroupMasters         = "system:masters"
	GroupAuthenticated   = "system:authenticated"
	GroupUnauthenticated = "system:unauthenticated"
	GroupNodes           = "system:nodes"
	UserAnonymous        = "system:anonymous"
	UserScheduler        = "system:kube-scheduler"
	UserControllers      = "system:kube-controller-manager"
	UserAPI              = "system:apiserver"
	// UserGateway is the only caller whose x-remote-* metadata is believed.
	UserGateway = "system:karve-gateway"
	// NodePrefix begins the user name of a node's agents.
	NodePrefix = "system:node:"
)

// User is an authenticated caller. It must not be changed once it is shared.
type User struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
}

// Info returns the user as the API's objects have it.
func (u User) Info() authenticationv1.UserInfo {
	out := authenticationv1.UserInfo{Username: u.Name, UID: u.UID, Groups: u.Groups}
	for key, values := range u.Extra {
		if out.Extra == nil {
			out.Extra = make(map[string]authenticationv1.ExtraValue, len(u.Extra))
		}
		out.Extra[key] = values
	}
	return out
}

type peerKey struct{}
type userKey struct{}

// WithPeer returns a context that says which process is on the other end of the connection: the transport sets it,
// from the client certificate or, in one process, from the connection itself.
func WithPeer(ctx context.Context, peer User) context.Context {
	return context.WithValue(ctx, peerKey{}, peer)
}

// Peer returns what WithPeer set; ok is false for a connection without a client certificate.
func Peer(ctx context.Context) (peer User, ok bool) {
	peer, ok = ctx.Value(peerKey{}).(User)
	return peer, ok
}

// WithUser returns a context that carries the authenticated caller of a request.
func WithUser(ctx context.Context, user User) context.Context {
	return context.WithValue(ctx, userKey{}, user)
}

// UserFrom returns the caller that authentication found; ok is false before authentication.
func UserFrom(ctx context.Context) (user User, ok bool) {
	user, ok = ctx.Value(userKey{}).(User)
	return user, ok
}
