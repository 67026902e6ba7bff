// Package quota enforces ResourceQuotas. What a write takes from the quotas of its namespace is booked in their status in
// the same commit that stores the object: whatever happens, and however many processes of the API there are, what is
// used is never more than what is stored, and never above the limit. What objects give back, by being deleted or by
// coming to an end, is counted anew when that happens.
//
// Writes that are charged to the same quotas would undo each other's commits. So they stand in one line for each
// namespace, and who comes to its head commits for all who wait.
package quota

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/watch"
)

var gvkQuota = corev1.SchemeGroupVersion.WithKind("ResourceQuota")

// Objects is what a Ledger sees of the cluster.
type Objects interface {
	// Settled returns a kind's objects, with everything that this process has written; nil when it is not served.
	Settled(ctx context.Context, gvk schema.GroupVersionKind) (*watch.Collection, error)
	// Resource finds a kind by its group and plural, with its objects; nil when it is not served or not stored.
	Resource(gr schema.GroupResource) (*registry.Kind, *watch.Collection)
	// Sync returns when all collections have everything that was written by anybody before the call.
	Sync(ctx context.Context) error
	// KindsChanged returns a channel that is closed when other kinds are served than now.
	KindsChanged() <-chan struct{}
}

// Config makes a Ledger; all is required.
type Config struct {
	Store   store.Store
	Objects Objects
	Log     *zap.Logger
}

// Ledger books writes. It is safe for concurrent use.
type Ledger struct {
	store   store.Store
	objects Objects
	log     *zap.Logger

	// life ends with Run: nothing waits then for what will not come any more.
	life context.Context
	end  context.CancelFunc

	mu    sync.Mutex
	lines map[string]*line // by namespace
}

// New returns a ledger. What objects give back is booked while Run runs.
func New(c Config) *Ledger {
	l := &Ledger{store: c.Store, objects: c.Objects, log: c.Log.Named("quota"), lines: map[string]*line{}}
	l.life, l.end = context.WithCancel(context.Background())
	return l
}

// Write is a create, or an update, that is about to be committed.
type Write struct {
	Kind                         *registry.Kind
	Subresource, Namespace, Name string
	Object                       registry.Object
	// Old returns what is stored now; nil for a create.
	Old func() (registry.Object, error)
}

func (w *Write) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: w.Kind.Group, Resource: w.Kind.Resource}
}

func (w *Write) forbidden(err error) error {
	return apierrors.NewForbidden(w.groupResource(), w.Name, err)
}

// Commit commits the ops of a write like store.Store does, together with what it takes from the quotas of its
// namespace. It fails with a Forbidden StatusError when one of them would be exceeded; a *store.FailedOpError is about
// the write's own ops.
func (l *Ledger) Commit(ctx context.Context, w *Write, ops ...store.Op) (int64, error) {
	charged, err := l.concerns(ctx, w)
	if err != nil {
		return 0, err
	}
	if !charged {
		return l.store.Commit(ctx, ops...)
	}
	e := &entry{write: w, ops: ops}
	err = l.enqueue(ctx, w.Namespace, e)
	return e.revision, err
}

// Check says whether Commit would refuse a write for its namespace's quotas.
func (l *Ledger) Check(ctx context.Context, w *Write) error {
	charged, err := l.concerns(ctx, w)
	if err != nil || !charged {
		return err
	}
	return l.enqueue(ctx, w.Namespace, &entry{write: w, dry: true})
}

// concerns reports whether quotas might have something to do with a write. It is on the path of every write.
func (l *Ledger) concerns(ctx context.Context, w *Write) (bool, error) {
	if !w.Kind.Namespaced || ignored[w.groupResource()] {
		return false, nil
	}
	quotas, err := l.objects.Settled(ctx, gvkQuota)
	if err != nil || quotas == nil || quotas.Len() == 0 {
		return false, err
	}
	if len(quotas.List(watch.Query{Namespace: w.Namespace, Limit: 1}).Entries) == 0 {
		return false, nil
	}
	return l.handles(w)
}

// handles reports whether a write may change what its object uses.
func (l *Ledger) handles(w *Write) (bool, error) {
	ev := evaluatorOf(w.groupResource())
	if w.Old == nil {
		return w.Subresource == "", nil
	}
	if ev.changes == nil {
		return false, nil
	}
	old, err := w.Old()
	if err != nil {
		return false, err
	}
	return ev.changes(w.Subresource, w.Object, old), nil
}

// charge returns the quotas as they are after a write: the same ones where nothing changes, else copies.
func (l *Ledger) charge(w *Write, quotas []*booked) ([]*booked, error) {
	var old registry.Object
	if w.Old != nil {
		var err error
		if old, err = w.Old(); err != nil {
			return nil, err
		}
	}
	return charge(w, old, quotas, time.Now())
}

// booked is a quota with the revision that it is stored at.
type booked struct {
	*corev1.ResourceQuota
	revision int64
}
