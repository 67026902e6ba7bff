package authn

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc/metadata"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/authz"
)

const (
	keyAsUser     = "impersonate-user"
	keyAsGroup    = "impersonate-group"
	keyAsUID      = "impersonate-uid"
	prefixAsExtra = "impersonate-extra-"
	// keyAsExtra has pairs key=value, for keys with characters that metadata's own cannot have.
	keyAsExtra = "impersonate-extra"
	authnGroup = "authentication.k8s.io"
)

// Impersonate returns who caller wants to be taken for by the impersonate-* metadata in ctx, after the check that it
// may; caller itself where none is set.
func Impersonate(ctx context.Context, az *authz.Authorizer, caller identity.User) (identity.User, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	wanted := identity.User{Name: first(md[keyAsUser]), Groups: md[keyAsGroup], UID: first(md[keyAsUID]), Extra: wantedExtra(md)}
	if wanted.Name == "" {
		if len(wanted.Groups)+len(wanted.Extra) == 0 && wanted.UID == "" {
			return caller, nil
		}
		return identity.User{}, apierrors.NewBadRequest("impersonating groups, a uid or extra fields needs a user to impersonate")
	}
	for _, attrs := range impersonationChecks(caller, wanted) {
		allowed, reason, err := az.Authorize(ctx, attrs)
		if err != nil {
			return identity.User{}, fmt.Errorf("authorize impersonation: %w", err)
		}
		if !allowed {
			return identity.User{}, authz.Forbidden(attrs, reason)
		}
	}
	return complete(wanted), nil
}

// wantedExtra reads the extra fields that somebody wants to have.
func wantedExtra(md metadata.MD) map[string][]string {
	out := extras(md, prefixAsExtra)
	for _, pair := range md[keyAsExtra] {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			continue
		}
		if out == nil {
			out = map[string][]string{}
		}
		out[unescape(key)] = append(out[unescape(key)], value)
	}
	return out
}

// impersonationChecks lists what caller must be allowed for becoming wanted.
func impersonationChecks(caller, wanted identity.User) []authz.Attributes {
	var out []authz.Attributes
	check := func(group, resource, subresource, namespace, name string) {
		out = append(out, authz.Attributes{
			User: caller, Verb: "impersonate", Group: group, Version: "v1", Resource: resource, Subresource: subresource, Namespace: namespace, Name: name,
		})
	}
	if namespace, name, ok := identity.SplitServiceAccount(wanted.Name); ok {
		check("", "serviceaccounts", "", namespace, name)
	} else {
		check("", "users", "", "", wanted.Name)
	}
	for _, g := range wanted.Groups {
		check("", "groups", "", "", g)
	}
	if wanted.UID != "" {
		check(authnGroup, "uids", "", "", wanted.UID)
	}
	for key, values := range wanted.Extra {
		for _, v := range values {
			check(authnGroup, "userextras", key, "", v)
		}
	}
	return out
}

// complete adds the groups that the impersonated user would have got by logging in.
func complete(u identity.User) identity.User {
	if namespace, _, ok := identity.SplitServiceAccount(u.Name); ok && len(u.Groups) == 0 {
		u.Groups = identity.ServiceAccountGroups(namespace)
	}
	if u.Name == identity.UserAnonymous {
		if !slices.Contains(u.Groups, identity.GroupUnauthenticated) {
			u.Groups = append(slices.Clone(u.Groups), identity.GroupUnauthenticated)
		}
		return u
	}
	if slices.Contains(u.Groups, identity.GroupUnauthenticated) {
		return u
	}
	return withAuthenticated(u)
}

// unescape reads a key of extra fields: HTTP header names carry other characters percent-encoded.
func unescape(key string) string {
	if out, err := url.PathUnescape(key); err == nil {
		return out
	}
	return key
}
