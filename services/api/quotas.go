package api

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/quota"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/watch"
)

// quotaed is what the quotas' ledger sees of the cluster: the request chain, which is made after it.
type quotaed struct{ server *Server }

var _ quota.Objects = quotaed{}

// Settled implements quota.Objects.
func (q quotaed) Settled(ctx context.Context, gvk schema.GroupVersionKind) (*watch.Collection, error) {
	return q.server.resources.Settled(ctx, gvk)
}

// Resource implements quota.Objects.
func (q quotaed) Resource(gr schema.GroupResource) (*registry.Kind, *watch.Collection) {
	return q.server.resources.Resource(gr)
}

// Sync implements quota.Objects.
func (q quotaed) Sync(ctx context.Context) error { return q.server.resources.Sync(ctx) }

// KindsChanged implements quota.Objects.
func (q quotaed) KindsChanged() <-chan struct{} { return q.server.resources.KindsChanged() }
