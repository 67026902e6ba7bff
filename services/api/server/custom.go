package server

import (
	"context"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/watch"
)

// SetCustom replaces the custom kinds, which are served besides those of the configuration. A kind that is passed again
// (the same pointer) goes on undisturbed; of the others the watches end, so that their clients see the new form. It
// must not be called concurrently. When it fails, what was served before is still served.
func (s *Server) SetCustom(ctx context.Context, kinds []*registry.Kind) error {
	before := s.kinds.Load()
	known := map[*registry.Kind]*served{}
	prefixes := map[string]*served{}
	set := newKindSet(len(before.order) + len(kinds))
	for _, sv := range before.order {
		if sv.Custom == nil {
			set.add(sv)
			continue
		}
		known[sv.Kind] = sv
		prefixes[KeyPrefix(sv.Kind)] = sv
	}
	for _, k := range kinds {
		prefix := KeyPrefix(k)
		sv := known[k]
		if sv == nil {
			if old := prefixes[prefix]; old != nil && !sameShape(old.Kind, k) {
				// The cache reads other fields or other keys now.
				s.cache.Remove(prefix)
			}
			var err error
			if sv, err = s.serve(ctx, k); err != nil {
				return err
			}
			sv.life, sv.end = context.WithCancel(context.Background())
		}
		delete(known, k)
		delete(prefixes, prefix)
		set.add(sv)
	}
	s.kinds.Store(set)
	close(before.replaced)
	for _, gone := range known {
		gone.end()
	}
	for prefix := range prefixes {
		s.cache.Remove(prefix)
	}
	return nil
}

// sameShape reports whether the cache holds the objects of two kinds in the same way.
func sameShape(a, b *registry.Kind) bool {
	return a.Namespaced == b.Namespaced && slices.Equal(fieldNames(a), fieldNames(b))
}

func fieldNames(k *registry.Kind) []string { return slices.Sorted(maps.Keys(fieldSet(k, k.New()))) }

// untilReplaced returns a context that ends when a kind is no longer served as it is.
func (sv *served) untilReplaced(ctx context.Context) (context.Context, context.CancelFunc) {
	if sv.life == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(sv.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// DeleteAll deletes every object of a kind on behalf of the API service itself. Objects with finalizers are left
// terminating.
func (s *Server) DeleteAll(ctx context.Context, gvk schema.GroupVersionKind) error {
	sv, ok := s.lookup(gvk)
	if !ok || sv.collection == nil {
		return errUnknownKind()
	}
	if err := s.Sync(ctx); err != nil {
		return err
	}
	r := &request{served: sv, now: time.Now(), user: identity.User{Name: identity.UserAPI, Groups: []string{identity.GroupMasters}}}
	return s.removeAll(ctx, r, sv.collection.List(watch.Query{}).Entries, &apiv1.DeleteOptions{})
}
