package volume

import (
	"context"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// tokenCache keeps each projected token until it is due for renewal, so that refreshing a pod's volumes for another
// reason asks for none. A pod's tokens are forgotten with it.
type tokenCache struct {
	control Control
	mu      sync.Mutex
	byKey   map[string]heldToken
}

type heldToken struct {
	token   string
	refresh time.Time
}

func newTokenCache(control Control) *tokenCache {
	return &tokenCache{control: control, byKey: map[string]heldToken{}}
}

func (t *tokenCache) get(ctx context.Context, pod *corev1.Pod, volume string, p *corev1.ServiceAccountTokenProjection) (string, time.Time, error) {
	key := strings.Join([]string{string(pod.UID), volume, p.Path, p.Audience}, "\x00")
	t.mu.Lock()
	held, ok := t.byKey[key]
	t.mu.Unlock()
	now := time.Now()
	if ok && now.Before(held.refresh) {
		return held.token, held.refresh, nil
	}
	token, expiry, err := t.control.Token(ctx, pod, p)
	if err != nil {
		return "", time.Time{}, err
	}
	held = heldToken{token: token, refresh: soon(now, expiry)}
	t.mu.Lock()
	t.byKey[key] = held
	t.mu.Unlock()
	return held.token, held.refresh, nil
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
