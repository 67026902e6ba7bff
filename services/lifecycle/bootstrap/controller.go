// Package bootstrap looks after bootstrap tokens: those that have expired are removed, and those that may vouch for the
// cluster sign its kubeconfig in the ConfigMap cluster-info, so that who joins with a token knows whom it joins.
package bootstrap

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
)

// The ConfigMap that is signed, and what of it.
const (
	clusterInfo   = "cluster-info"
	keyKubeconfig = "kubeconfig"
)

// info is the only key of the signer's queue.
var info = informer.Key{Namespace: metav1.NamespacePublic, Name: clusterInfo}

// Controller removes and signs.
type Controller struct {
	client *client.Client
	tokens *informer.Informer[*corev1.Secret]
	infos  *informer.Informer[*corev1.ConfigMap]
	clean  *reconcile.Controller
	sign   *reconcile.Controller
}

// New returns a controller; the set may not run yet.
func New(c *client.Client, set *informer.Set, log *zap.Logger) *Controller {
	out := &Controller{
		client: c, tokens: informer.Select[*corev1.Secret](set, "type="+string(corev1.SecretTypeBootstrapToken)),
		infos: informer.Select[*corev1.ConfigMap](set, "metadata.name="+clusterInfo),
	}
	out.clean = reconcile.New("bootstrap-cleaner", 1, out.reconcileToken, log)
	out.sign = reconcile.New("bootstrap-signer", 1, out.reconcileInfo, log)
	out.tokens.OnChange(func(_, now *corev1.Secret) {
		out.sign.Enqueue(info)
		if now != nil {
			out.clean.Enqueue(informer.KeyOf(now))
		}
	})
	out.infos.OnChange(func(_, now *corev1.ConfigMap) {
		if now != nil && informer.KeyOf(now) == info {
			out.sign.Enqueue(info)
		}
	})
	return out
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.clean.Run(ctx) })
	g.Go(func() error { return c.sign.Run(ctx) })
	return g.Wait()
}

// reconcileToken removes a token once it has expired.
func (c *Controller) reconcileToken(ctx context.Context, key informer.Key) (time.Duration, error) {
	secret, ok := c.tokens.Get(key.Namespace, key.Name)
	if !ok || key.Namespace != metav1.NamespaceSystem || secret.DeletionTimestamp != nil {
		return 0, nil
	}
	at, ends := expires(secret)
	if !ends {
		return 0, nil
	}
	if wait := time.Until(at); wait > 0 {
		return wait, nil
	}
	err := c.client.Delete(ctx, secret, client.DeleteOptions{UID: secret.UID, ResourceVersion: secret.ResourceVersion})
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("remove expired bootstrap token %s: %w", key.Name, err)
	}
	return 0, nil
}

func (c *Controller) reconcileInfo(ctx context.Context, key informer.Key) (time.Duration, error) {
	found, ok := c.infos.Get(key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	tokens := map[string]string{}
	for _, s := range c.tokens.List(metav1.NamespaceSystem, nil) {
		if id, secret, ok := signs(s, time.Now()); ok {
			tokens[id] = secret
		}
	}
	data, changed, err := signed(found.Data, tokens)
	if err != nil || !changed {
		return 0, err
	}
	now := found.DeepCopy()
	now.Data = data
	if err := c.client.Update(ctx, now); err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("sign the ConfigMap %s: %w", clusterInfo, err)
	}
	return 0, nil
}
