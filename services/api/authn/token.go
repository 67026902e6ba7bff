package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"karve.dev/karve/internal/identity"
)

// deletedLeeway is how long the token of an object that is being deleted still works, so that what shuts down can
// say goodbye.
const deletedLeeway = time.Minute

func (a *Authenticator) authenticateToken(ctx context.Context, token string) (identity.User, error) {
	if id, secret, ok := splitBootstrap(token); ok {
		return a.bootstrapUser(ctx, id, secret)
	}
	verified, err := a.verify(ctx, token)
	if err != nil {
		return identity.User{}, err
	}
	if verified.outside {
		return verified.user, nil
	}
	if !verified.own {
		return identity.User{}, fmt.Errorf("the token is for the audiences %q", verified.claims.Audiences)
	}
	if err := a.checkBound(ctx, &verified.claims); err != nil {
		return identity.User{}, err
	}
	if s := verified.claims.Secret; s != nil && a.config.SecretUsed != nil {
		a.config.SecretUsed(verified.claims.Namespace, s.Name)
	}
	return verified.user, nil
}

// verify checks what does not change while a token lives, once per token.
func (a *Authenticator) verify(ctx context.Context, token string) (*verifiedToken, error) {
	key := sha256.Sum256([]byte(token))
	if found := a.cache.get(key, time.Now()); found != nil {
		return found, nil
	}
	made, err := a.verifyOwn(token)
	if errors.Is(err, identity.ErrNotOurs) && a.config.Issuers != nil {
		made, err = a.verifyOutside(ctx, token)
	}
	if err != nil {
		return nil, err
	}
	a.cache.put(key, made)
	return made, nil
}

// outsideLife is how long the word of another issuer's token is remembered: its rules may change.
const outsideLife = 10 * time.Second

func (a *Authenticator) verifyOutside(ctx context.Context, token string) (*verifiedToken, error) {
	u, expires, err := a.config.Issuers.Authenticate(ctx, token)
	if err != nil {
		return nil, err
	}
	if soon := time.Now().Add(outsideLife); soon.Before(expires) {
		expires = soon
	}
	return &verifiedToken{outside: true, user: withAuthenticated(u), claims: identity.Claims{Expires: expires}}, nil
}

func (a *Authenticator) verifyOwn(token string) (*verifiedToken, error) {
	if a.config.Tokens == nil {
		return nil, identity.ErrNotOurs
	}
	tokens, err := a.config.Tokens()
	if err != nil {
		return nil, err
	}
	claims, err := tokens.Verify(token)
	if err != nil {
		return nil, err
	}
	return &verifiedToken{claims: claims, user: withAuthenticated(claims.User()), own: len(intersect(claims.Audiences, a.audiences(tokens))) > 0}, nil
}

func (a *Authenticator) audiences(tokens *identity.Tokens) []string {
	if len(a.config.Audiences) > 0 {
		return a.config.Audiences
	}
	return []string{tokens.Issuer()}
}

// checkBound checks that the objects that a token is bound to are still the same ones. A pod's token ends with the
// pod; its node is then only told.
func (a *Authenticator) checkBound(ctx context.Context, c *identity.Claims) error {
	if err := a.checkRef(ctx, "ServiceAccount", c.Namespace, &c.ServiceAccount); err != nil {
		return err
	}
	switch {
	case c.Pod != nil:
		return a.checkRef(ctx, "Pod", c.Namespace, c.Pod)
	case c.Secret != nil:
		return a.checkRef(ctx, "Secret", c.Namespace, c.Secret)
	case c.Node != nil:
		return a.checkRef(ctx, "Node", "", c.Node)
	}
	return nil
}

func (a *Authenticator) checkRef(ctx context.Context, kind, namespace string, ref *identity.Ref) error {
	uid, deleted, ok, err := a.config.Objects.Lookup(ctx, kind, namespace, ref.Name)
	switch {
	case err != nil:
		return fmt.Errorf("look up the %s of a token: %w", kind, err)
	case !ok:
		return fmt.Errorf("the token's %s %s/%s does not exist", kind, namespace, ref.Name)
	case uid != ref.UID:
		return fmt.Errorf("the token's %s %s/%s was replaced", kind, namespace, ref.Name)
	case deleted != nil && time.Since(*deleted) > deletedLeeway:
		return fmt.Errorf("the token's %s %s/%s was deleted", kind, namespace, ref.Name)
	}
	return nil
}

// ErrAudience is ReviewToken's error for a token that is good, but for others.
var ErrAudience = errors.New("token audiences do not match")

// ReviewToken answers a TokenReview: whom the token stands for and which of the audiences it is good for (the API's
// own where none are given). A bad token is an error whose text may be shown.
func (a *Authenticator) ReviewToken(ctx context.Context, token string, audiences []string) (identity.User, []string, error) {
	own, err := a.ownAudiences()
	if err != nil {
		return identity.User{}, nil, err
	}
	if len(audiences) == 0 {
		audiences = own
	}
	// Tokens that name no audience of theirs are for the API.
	good := intersect(audiences, own)
	u, claims, err := a.reviewed(ctx, token)
	if err != nil {
		return identity.User{}, nil, err
	}
	if claims != nil {
		good = intersect(audiences, claims.Audiences)
	}
	if len(good) == 0 {
		return identity.User{}, nil, ErrAudience
	}
	if claims != nil {
		if err := a.checkBound(ctx, claims); err != nil {
			return identity.User{}, nil, err
		}
	}
	return u, good, nil
}

// reviewed verifies a token of any kind; claims is nil where the API is its only audience.
func (a *Authenticator) reviewed(ctx context.Context, token string) (identity.User, *identity.Claims, error) {
	if id, secret, ok := splitBootstrap(token); ok {
		u, err := a.bootstrapUser(ctx, id, secret)
		return u, nil, err
	}
	verified, err := a.verify(ctx, token)
	switch {
	case err != nil:
		return identity.User{}, nil, err
	case verified.outside:
		return verified.user, nil, nil
	}
	return verified.user, &verified.claims, nil
}

func (a *Authenticator) ownAudiences() ([]string, error) {
	if a.config.Tokens == nil {
		return a.config.Audiences, nil
	}
	tokens, err := a.config.Tokens()
	if err != nil {
		return nil, err
	}
	return a.audiences(tokens), nil
}

func intersect(a, b []string) []string {
	var out []string
	for _, v := range a {
		if slices.Contains(b, v) {
			out = append(out, v)
		}
	}
	return out
}
