package oidc

import "time"

// LookAgain makes the next call look at the file.
func LookAgain(a *Authenticator) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.checked = time.Time{}
}
