package server

import (
	"sync"

	"karve.dev/karve/internal/identity"
)

// Bounds of the watches that are open at once: all users' together, and one user's. The cluster's own parts count, but
// are never refused.
const (
	maxWatches     = 100_000
	maxUserWatches = 30_000
)

// watches counts open watches. The zero value is ready; it is safe for concurrent use.
type watches struct {
	mu   sync.Mutex
	all  int
	user map[string]int
}

// enter counts a watch in until leave is called, once or more often.
func (w *watches) enter(user identity.User) (leave func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !ownPart(user) && (w.all >= maxWatches || w.user[user.Name] >= maxUserWatches) {
		return nil, errBusy()
	}
	if w.user == nil {
		w.user = map[string]int{}
	}
	w.all++
	w.user[user.Name]++
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.all--
		if w.user[user.Name]--; w.user[user.Name] == 0 {
			delete(w.user, user.Name)
		}
	}), nil
}
