package api

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/server"
)

// What tells which tokens in Secrets are still in use: a label with the day, and since when it is kept.
const (
	labelLastUsed  = "kubernetes.io/legacy-token-last-used"
	trackingConfig = "kube-apiserver-legacy-service-account-token-tracking"
	dayFormat      = "2006-01-02"
)

// maxNoted bounds the Secrets whose use of the day is remembered, and maxToNote those that wait to be written.
const (
	maxNoted  = 10000
	maxToNote = 100
)

// tokenUse notes once a day which Secrets' tokens are used. Noting never blocks a request: what finds no room is noted at
// a later use.
type tokenUse struct {
	toNote chan secretName

	mu    sync.Mutex
	day   string
	noted map[secretName]bool
}

type secretName struct{ namespace, name string }

func newTokenUse() *tokenUse {
	return &tokenUse{toNote: make(chan secretName, maxToNote), noted: map[secretName]bool{}}
}

// used is told of each use of a token that is bound to a Secret.
func (u *tokenUse) used(namespace, name string) {
	key, day := secretName{namespace, name}, today()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.day != day || len(u.noted) > maxNoted {
		u.day, u.noted = day, map[secretName]bool{}
	}
	if u.noted[key] {
		return
	}
	select {
	case u.toNote <- key:
		u.noted[key] = true
	default:
	}
}

func today() string { return time.Now().UTC().Format(dayFormat) }

// noteTokenUse writes the label until ctx ends.
func (s *Server) noteTokenUse(ctx context.Context) error {
	since := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: trackingConfig}, Data: map[string]string{"since": today()}}
	if err := s.ensure(ctx, since); err != nil && ctx.Err() == nil {
		s.config.Log.Warn("the ConfigMap about tokens in use cannot be made", zap.Error(err))
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case key := <-s.tokenUse.toNote:
			if err := s.noteUse(ctx, key); err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
				s.config.Log.Warn("the use of a token cannot be noted", zap.String("namespace", key.namespace), zap.String("secret", key.name), zap.Error(err))
			}
		}
	}
}

func (s *Server) noteUse(ctx context.Context, key secretName) error {
	change := server.Change{Namespace: key.namespace, Name: key.name, Do: func(old registry.Object) (server.Outcome, error) {
		secret := old.(*corev1.Secret)
		if secret.Type != corev1.SecretTypeServiceAccountToken || secret.Labels[labelLastUsed] == today() {
			return server.Outcome{Next: old}, nil
		}
		next := secret.DeepCopy()
		if next.Labels == nil {
			next.Labels = map[string]string{}
		}
		next.Labels[labelLastUsed] = today()
		return server.Outcome{Next: next}, nil
	}}
	return s.resources.Batch(ctx, corev1.SchemeGroupVersion.WithKind("Secret"), []server.Change{change})[0]
}
