package authn

import (
	"crypto/sha256"
	"sync"
	"time"

	"karve.dev/karve/internal/identity"
)

// maxCached bounds the verified tokens that are remembered: one for each pod of a large cluster's busiest clients.
const maxCached = 4096

// verifiedToken is a token whose signature and times were good. User includes system:authenticated.
type verifiedToken struct {
	claims identity.Claims
	user   identity.User
	// own: the API is one of the token's audiences.
	own bool
	// outside: another issuer made the token, and all of claims is when to ask that one again.
	outside bool
}

// tokenCache remembers verified tokens by their hash. When it is full, any entry goes: Go's map order is random
// enough, and a miss costs one signature check.
type tokenCache struct {
	max int

	mu      sync.RWMutex
	entries map[[sha256.Size]byte]*verifiedToken
}

func newTokenCache(limit int) *tokenCache {
	return &tokenCache{max: limit, entries: map[[sha256.Size]byte]*verifiedToken{}}
}

func (c *tokenCache) get(key [sha256.Size]byte, now time.Time) *verifiedToken {
	c.mu.RLock()
	found := c.entries[key]
	c.mu.RUnlock()
	if found == nil || now.Before(found.claims.Expires) {
		return found
	}
	c.mu.Lock()
	delete(c.entries, key)
	c.mu.Unlock()
	return nil
}

func (c *tokenCache) put(key [sha256.Size]byte, t *verifiedToken) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.entries {
		if len(c.entries) < c.max {
			break
		}
		delete(c.entries, other)
	}
	c.entries[key] = t
}
