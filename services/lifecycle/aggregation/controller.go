// Package aggregation fills ClusterRoles that are the union of others, as admin, edit and view are.
package aggregation

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
)

// Controller writes the rules of aggregated ClusterRoles.
type Controller struct {
	client *client.Client
	roles  *informer.Informer[*rbacv1.ClusterRole]
	queue  *reconcile.Controller
}

// New returns a controller; the set may not run yet.
func New(c *client.Client, set *informer.Set, log *zap.Logger) *Controller {
	out := &Controller{client: c, roles: informer.For[*rbacv1.ClusterRole](set)}
	out.queue = reconcile.New("aggregation", 1, out.reconcile, log)
	// Any role may be a part of any aggregated one; there are few of those.
	out.roles.OnChange(func(_, _ *rbacv1.ClusterRole) {
		for _, role := range out.roles.List("", nil) {
			if role.AggregationRule != nil {
				out.queue.EnqueueSoon(informer.KeyOf(role), 50*time.Millisecond)
			}
		}
	})
	return out
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.queue.Run(ctx) }

func (c *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	role, ok := c.roles.Get("", key.Name)
	if !ok || role.AggregationRule == nil || role.DeletionTimestamp != nil {
		return 0, nil
	}
	rules := aggregate(role, c.roles.List("", nil))
	if sameRules(rules, role.Rules) {
		return 0, nil
	}
	out := role.DeepCopy()
	out.Rules = rules
	if err := c.client.Update(ctx, out); err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("aggregate ClusterRole %s: %w", role.Name, err)
	}
	return 0, nil
}
