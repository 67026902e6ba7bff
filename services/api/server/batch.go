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
	size, count, keys := 0, 0, map[string]bool{}
	flush := func() {
		s.commitBatch(ctx, pending)
		pending, size, count = nil, 0, 0
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
		if size += b.size(); count+len(b.ops) > batchOps || size > batchBytes && len(pending) > 0 {
			flush()
			size = b.size()
		}
		count += len(b.ops)
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
	// ops are the change itself and what a hook adds to it.
	ops []store.Op
}

func (b *batched) size() int {
	n := 0
	for _, op := range b.ops {
		n += len(op.Value)
	}
	return n
}

// plan reads the object and works out the ops; false when there is nothing to commit, for success or failure.
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
	b.ops, *b.err = b.outcome(ctx, s, it)
	if *b.err == nil && b.ops != nil {
		return true
	}
	// Neither a refusal nor "nothing changes" is certain of an object that may not be the newest.
	if !cached {
		return false
	}
	if newest, err := s.fetch(ctx, b.request); err == nil && newest.revision == it.revision {
		return false
	}
	return b.plan(ctx, s, true)
}

// outcome lets the change decide about the object; no ops mean that nothing changes.
func (b *batched) outcome(ctx context.Context, s *Server, it item) ([]store.Op, error) {
	base := item{value: it.value, revision: it.revision, err: it.err}
	old, err := base.object(b.request.Kind)
	if err != nil {
		return nil, err
	}
	out, err := b.Do(old)
	if err != nil {
		return nil, err
	}
	op := store.Op{Key: b.request.key(), Expected: it.revision}
	if out.Remove = out.Remove || finished(out.Next); !out.Remove {
		b.request.Default(out.Next)
	}
	side, err := s.planChange(ctx, b.request, out, it)
	if err != nil {
		return nil, err
	}
	if !out.Remove {
		if op.Value, err = codec.Store(b.request.Kind, out.Next); err != nil {
			return nil, err
		}
		if bytes.Equal(op.Value, it.value) {
			return nil, nil
		}
	}
	return append([]store.Op{op}, side...), nil
}

// commitBatch commits what is pending. A change that lost a race is planned again with the newest object.
func (s *Server) commitBatch(ctx context.Context, pending []*batched) {
	for tries := batchTries * len(pending); len(pending) > 0; tries-- {
		var ops []store.Op
		var owners []int
		for i, b := range pending {
			ops = append(ops, b.ops...)
			for range b.ops {
				owners = append(owners, i)
			}
		}
		_, err := s.store.Commit(ctx, ops...)
		if err == nil {
			return
		}
		var failed *store.FailedOpError
		if !errors.As(err, &failed) || tries == 0 {
			for _, b := range pending {
				*b.err = fmt.Errorf("store %s: %w", b.request.Resource, err)
			}
			return
		}
		loser := owners[failed.Index]
		if !pending[loser].plan(ctx, s, true) {
			pending = append(pending[:loser], pending[loser+1:]...)
		}
	}
}
