// Package token fills Secrets of the type kubernetes.io/service-account-token: with a token of the ServiceAccount that
// they name, which is good as long as the Secret is there. They end with their ServiceAccount.
package token

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
)

const (
	workers = 2
	// life is the longest that the API gives, some 136 years: the Secret's end is the token's.
	life = int64(1) << 32
	// byAccount finds the Secrets of a ServiceAccount.
	byAccount = "service account"
)

// Controller fills and removes tokens' Secrets.
type Controller struct {
	client   *client.Client
	ca       []byte
	secrets  *informer.Informer[*corev1.Secret]
	accounts *informer.Informer[*corev1.ServiceAccount]
	queue    *reconcile.Controller
}

// New returns a controller; ca is the certificate (PEM) that goes beside the tokens. The set may not run yet.
func New(c *client.Client, set *informer.Set, ca []byte, log *zap.Logger) *Controller {
	out := &Controller{
		client: c, ca: ca, accounts: informer.For[*corev1.ServiceAccount](set),
		secrets: informer.Select[*corev1.Secret](set, "type="+string(corev1.SecretTypeServiceAccountToken)),
	}
	out.queue = reconcile.New("token", workers, out.reconcile, log)
	out.secrets.AddIndex(byAccount, func(s *corev1.Secret) []string { return []string{accountOf(s).String()} })
	out.secrets.OnChange(func(_, now *corev1.Secret) {
		if now != nil {
			out.queue.Enqueue(informer.KeyOf(now))
		}
	})
	out.accounts.OnChange(func(old, now *corev1.ServiceAccount) {
		either := now
		if either == nil {
			either = old
		}
		for _, s := range out.secrets.ByIndex(byAccount, informer.KeyOf(either).String()) {
			out.queue.Enqueue(informer.KeyOf(s))
		}
	})
	return out
}

func accountOf(s *corev1.Secret) informer.Key {
	return informer.Key{Namespace: s.Namespace, Name: s.Annotations[corev1.ServiceAccountNameKey]}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.queue.Run(ctx) }

func (c *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	secret, ok := c.secrets.Get(key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	account, err := c.account(ctx, accountOf(secret))
	if err != nil {
		return 0, err
	}
	switch next(secret, account, c.ca) {
	case fill:
		err = c.fill(ctx, secret.DeepCopy(), account)
	case remove:
		err = c.client.Delete(ctx, secret, client.DeleteOptions{UID: secret.UID})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("service-account token %s: %w", key, err)
	}
	return 0, nil
}

// account returns a ServiceAccount, nil when there is none. Before a Secret is removed for want of one, the API itself is
// asked: the two are often made together.
func (c *Controller) account(ctx context.Context, key informer.Key) (*corev1.ServiceAccount, error) {
	if known, ok := c.accounts.Get(key.Namespace, key.Name); ok {
		return known, nil
	}
	out := &corev1.ServiceAccount{}
	err := c.client.Get(ctx, out, key.Namespace, key.Name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read service account %s: %w", key, err)
	}
	return out, nil
}

// fill asks the API for a token that is bound to the Secret, so that the keys stay where they are.
func (c *Controller) fill(ctx context.Context, secret *corev1.Secret, account *corev1.ServiceAccount) error {
	token := ""
	if needsToken(secret) {
		seconds := life
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			ExpirationSeconds: &seconds,
			BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: secret.Name, UID: secret.UID},
		}}
		if err := c.client.CreateSubresource(ctx, account, request, account.Name, "token"); err != nil {
			return err
		}
		token = request.Status.Token
	}
	complete(secret, account, c.ca, token)
	return c.client.Update(ctx, secret)
}
