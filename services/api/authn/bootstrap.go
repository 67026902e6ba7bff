package authn

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/internal/identity"
)

// Bootstrap tokens: what a secret that holds one looks like, and whom it makes its bearer.
const (
	bootstrapNamespace  = "kube-system"
	bootstrapPrefix     = "bootstrap-token-"
	bootstrapUserPrefix = "system:bootstrap:"
	bootstrapGroup      = "system:bootstrappers"
)

var (
	bootstrapToken  = regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{16})$`)
	bootstrapGroups = regexp.MustCompile(`^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$`)
)

func splitBootstrap(token string) (id, secret string, ok bool) {
	if len(token) != 23 {
		return "", "", false
	}
	m := bootstrapToken.FindStringSubmatch(token)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

func (a *Authenticator) bootstrapUser(ctx context.Context, id, secret string) (identity.User, error) {
	stored, err := a.config.Objects.Secret(ctx, bootstrapNamespace, bootstrapPrefix+id)
	if err != nil {
		return identity.User{}, fmt.Errorf("read bootstrap token %s: %w", id, err)
	}
	groups, err := checkBootstrap(stored, id, secret, time.Now())
	if err != nil {
		return identity.User{}, fmt.Errorf("bootstrap token %s: %w", id, err)
	}
	return withAuthenticated(identity.User{Name: bootstrapUserPrefix + id, Groups: groups}), nil
}

// checkBootstrap returns the groups of a token's bearer, if the stored secret is for this token and good now.
func checkBootstrap(stored *corev1.Secret, id, secret string, now time.Time) ([]string, error) {
	if stored == nil || stored.DeletionTimestamp != nil || stored.Type != corev1.SecretTypeBootstrapToken {
		return nil, errors.New("unknown")
	}
	// The two compare in constant time, and both always: the caller learns nothing from how long it takes.
	same := subtle.ConstantTimeCompare(stored.Data["token-id"], []byte(id))
	same &= subtle.ConstantTimeCompare(stored.Data["token-secret"], []byte(secret))
	if same != 1 {
		return nil, errors.New("wrong secret")
	}
	if string(stored.Data["usage-bootstrap-authentication"]) != "true" {
		return nil, errors.New("not for authentication")
	}
	if end := string(stored.Data["expiration"]); end != "" {
		at, err := time.Parse(time.RFC3339, end)
		if err != nil || !now.Before(at) {
			return nil, errors.New("expired")
		}
	}
	groups := []string{bootstrapGroup}
	for _, g := range strings.FieldsFunc(string(stored.Data["auth-extra-groups"]), func(r rune) bool { return r == ',' }) {
		if !bootstrapGroups.MatchString(g) {
			return nil, fmt.Errorf("group %q is not allowed", g)
		}
		groups = append(groups, g)
	}
	return groups, nil
}
