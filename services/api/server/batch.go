package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/store"
)

// Bounds of one commit.
const (
	batchOps   = 64
	batchBytes = 512 << 10
	batchTries = 20
)

// Change is one object of a Batch and what to do to it. Do may be called several times; it gets the object, which it
// may keep and change.
type Change struct {
	Namespace, Name string
	Do              func(old registry.Object) (Outcome, error)
}

// Batch changes objects of one kind, many in a commit. It returns one error per change; the changes are not atomic
// together. The caller has authorized them and answers for what Do returns: there is no admission and no validation.
func (s *Server) Batch(ctx context.Context, gvk schema.GroupVersionKind, changes []Change) []error {
	errs := make([]error, len(changes))
	sv, ok := s.lookup(gvk)
	if !ok || sv.collection == nil {
		for i := range errs {
			errs[i] = errUnknownKind()
		}
		return errs
	}
	var pending []*batched
	size, keys := 0, map[string]bool{}
	flush := func() {
		s.commitBatch(ctx, pending)
		pending, size = nil, 0
		clear(keys)
	}
	for i := range changes {
		b := &batched{Change: &changes[i], err: &errs[i], request: &request{
			served: sv, namespace: changes[i].Namespace, name: changes[i].Name, now: time.Now(), user: identity.User{Name: identity.UserAPI},
		}}
		// One commit takes a key only once.
		if keys[b.request.key()] {
			flush()
		}
		if !b.plan(ctx, s, false) {
			continue
		}
		if size += len(b.op.Value); len(pending) == batchOps || size > batchBytes && len(pending) > 0 {
			flush()
			size = len(b.op.Value)
		}
		pending = append(pending, b)
		keys[b.request.key()] = true
	}
	flush()
	return errs
}

// batched is one change on its way through a batch.
type batched struct {
	*Change
	request *request
	err     *error
	op      store.Op
}

// plan reads the object and works out the op; false when there is nothing to commit, for success or failure.
func (b *batched) plan(ctx context.Context, s *Server, fresh bool) bool {
	var it item
	cached := false
	if fresh {
		it, *b.err = s.fetch(ctx, b.request)
	} else {
		it, cached, *b.err = s.recent(ctx, b.request)
	}
	if *b.err != nil {
		return false
	}
	base := item{value: it.value, revision: it.revision, err: it.err}
	old, err := base.object(b.request.Kind)
	if err != nil {
		*b.err = err
		return false
	}
	out, err := b.Do(old)
	if err != nil {
		if cached {
			// Perhaps only because the cache is behind.
			return b.plan(ctx, s, true)
		}
		*b.err = err
		return false
	}
	b.op = store.Op{Key: b.request.key(), Expected: it.revision}
	if out.Remove || finished(out.Next) {
		return true
	}
	b.request.Default(out.Next)
	b.op.Value, *b.err = codec.Encode(b.request.GroupVersionKind, out.Next)
	if *b.err != nil {
		return false
	}
	if !bytes.Equal(b.op.Value, it.value) {
		return true
	}
	// That nothing changes is only certain of the newest object.
	return cached && b.plan(ctx, s, true)
}

// commitBatch commits what is pending. A change that lost a race is planned again with the newest object.
func (s *Server) commitBatch(ctx context.Context, pending []*batched) {
	for try := 0; len(pending) > 0; try++ {
		ops := make([]store.Op, len(pending))
		for i, b := range pending {
			ops[i] = b.op
		}
		_, err := s.store.Commit(ctx, ops...)
		if err == nil {
			return
		}
		var failed *store.FailedOpError
		if !errors.As(err, &failed) || try == batchTries*len(ops) {
			for _, b := range pending {
				*b.err = fmt.Errorf("store %s: %w", b.request.Resource, err)
			}
			return
		}
		loser := pending[failed.Index]
		if !loser.plan(ctx, s, true) {
			pending = append(pending[:failed.Index], pending[failed.Index+1:]...)
		}
	}
}
