package kubelet

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
)

// How long answers of the API are believed, as by a kubelet's defaults, and how many are remembered.
const (
	tokenKnown   = 2 * time.Minute
	allowedKnown = 5 * time.Minute
	deniedKnown  = 30 * time.Second
	remembered   = 1024
	askTimeout   = 10 * time.Second
)

// Access decides who may ask a node, by asking the API.
type Access struct {
	client  *client.Client
	tokens  *recall[[sha256.Size]byte, *identity.User]
	allowed *recall[question, bool]
}

// NewAccess returns an access that asks with the node's own client.
func NewAccess(c *client.Client) *Access {
	return &Access{client: c, tokens: newRecall[[sha256.Size]byte, *identity.User](), allowed: newRecall[question, bool]()}
}

// question is whether somebody may do something with a node.
type question struct {
	user, uid, groups, extra string
	node, verb, subresource  string
}

// admit answers requests that are refused, and returns false for them.
func (a *Access) admit(w http.ResponseWriter, r *http.Request, node string) bool {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	user, err := a.authenticate(ctx, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return false
	}
	if user == nil {
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return false
	}
	verb, subresources := wanted(r)
	for _, sub := range subresources {
		ok, err := a.authorize(ctx, user, node, verb, sub)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return false
		}
		if ok {
			return true
		}
	}
	http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)\n", user.Name, verb, subresources), http.StatusForbidden)
	return false
}

// authenticate names the caller by its token, or else by its certificate; nil: neither is good.
func (a *Access) authenticate(ctx context.Context, r *http.Request) (*identity.User, error) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return a.review(ctx, strings.TrimSpace(token))
	}
	if peer, ok := identity.Peer(r.Context()); ok {
		peer.Groups = append(peer.Groups[:len(peer.Groups):len(peer.Groups)], identity.GroupAuthenticated)
		return &peer, nil
	}
	return nil, nil
}

func (a *Access) review(ctx context.Context, token string) (*identity.User, error) {
	key := sha256.Sum256([]byte(token))
	if user, ok := a.tokens.get(key); ok {
		return user, nil
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if token == "" {
		return nil, nil
	}
	if err := a.client.Create(ctx, review); err != nil {
		return nil, fmt.Errorf("review the token: %w", err)
	}
	var user *identity.User
	if info := review.Status.User; review.Status.Authenticated {
		user = &identity.User{Name: info.Username, UID: info.UID, Groups: info.Groups, Extra: map[string][]string{}}
		for key, values := range info.Extra {
			user.Extra[key] = values
		}
		a.tokens.put(key, user, tokenKnown)
	}
	return user, nil
}

func (a *Access) authorize(ctx context.Context, user *identity.User, node, verb, subresource string) (bool, error) {
	q := question{user.Name, user.UID, strings.Join(user.Groups, "\x00"), fmt.Sprint(user.Extra), node, verb, subresource}
	if ok, known := a.allowed.get(q); known {
		return ok, nil
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Name, UID: user.UID, Groups: user.Groups, Extra: map[string]authorizationv1.ExtraValue{},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Version: "v1", Resource: "nodes", Name: node, Verb: verb, Subresource: subresource},
	}}
	for key, values := range user.Extra {
		review.Spec.Extra[key] = values
	}
	if err := a.client.Create(ctx, review); err != nil {
		return false, fmt.Errorf("ask whether %s may %s nodes/%s: %w", user.Name, verb, subresource, err)
	}
	known := deniedKnown
	if review.Status.Allowed {
		known = allowedKnown
	}
	a.allowed.put(q, review.Status.Allowed, known)
	return review.Status.Allowed, nil
}

// verbs are what methods mean.
var verbs = map[string]string{
	http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete",
}

// areas are which subresources of the node a path is about; one that is allowed is enough.
var areas = []struct {
	path         string
	subresources []string
}{
	{"/stats", []string{"stats"}},
	{"/metrics", []string{"metrics"}},
	{"/logs", []string{"log"}},
	{"/healthz", []string{"healthz", "proxy"}},
	{"/pods", []string{"pods", "proxy"}},
	{"/configz", []string{"configz", "proxy"}},
}

// wanted is what a request needs to be allowed, by a kubelet's rules.
func wanted(r *http.Request) (verb string, subresources []string) {
	if verb = verbs[r.Method]; verb == "" {
		verb = "get"
	}
	for _, area := range areas {
		if r.URL.Path == area.path || strings.HasPrefix(r.URL.Path, area.path+"/") {
			return verb, area.subresources
		}
	}
	return verb, []string{"proxy"}
}
