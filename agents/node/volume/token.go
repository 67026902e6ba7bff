package volume

import (
	"context"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// tokenTimeout bounds one request for a token.
	tokenTimeout = 10 * time.Second
	// tokenRetry is when a token is asked for again that could not be renewed and is still good.
	tokenRetry = time.Minute
)

// tokenCache keeps each projected token until it is due for renewal, so that refreshing a pod's volumes for another
// reason asks for none. A pod's tokens are forgotten with it. An agent that starts finds them in the pods' volumes.
type tokenCache struct {
	control Control
	mu      sync.Mutex
	byKey   map[string]heldToken
}

type heldToken struct {
	token           string
	refresh, expiry time.Time
}

func newTokenCache(control Control) *tokenCache {
	return &tokenCache{control: control, byKey: map[string]heldToken{}}
}

// get returns a token, and when to ask for it again.
func (t *tokenCache) get(ctx context.Context, r *request, p *corev1.ServiceAccountTokenProjection) (string, time.Time, error) {
	key := strings.Join([]string{string(r.pod.UID), r.spec.Name, p.Path, p.Audience}, "\x00")
	t.mu.Lock()
	held, ok := t.byKey[key]
	t.mu.Unlock()
	now := time.Now()
	if !ok {
		held = tokenIn(r, p)
	}
	if !now.Before(held.refresh) {
		next, err := t.ask(ctx, r.pod, p, now)
		switch {
		case err == nil:
			held = next
		case now.Before(held.expiry):
			return held.token, now.Add(tokenRetry), nil
		default:
			return "", time.Time{}, err
		}
	}
	t.mu.Lock()
	t.byKey[key] = held
	t.mu.Unlock()
	return held.token, held.refresh, nil
}

func (t *tokenCache) ask(ctx context.Context, pod *corev1.Pod, p *corev1.ServiceAccountTokenProjection, now time.Time) (heldToken, error) {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	token, expiry, err := t.control.Token(ctx, pod, p)
	return heldToken{token: token, refresh: soon(now, expiry), expiry: expiry}, err
}

// tokenIn is the token that lies in the volume already.
func tokenIn(r *request, p *corev1.ServiceAccountTokenProjection) heldToken {
	token := string(heldFile(r, p.Path))
	issued, expiry := lifeOf(token)
	if expiry.IsZero() {
		return heldToken{}
	}
	return heldToken{token: token, refresh: soon(issued, expiry), expiry: expiry}
}

func (t *tokenCache) forget(uid string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.byKey {
		if strings.HasPrefix(key, uid+"\x00") {
			delete(t.byKey, key)
		}
	}
}
