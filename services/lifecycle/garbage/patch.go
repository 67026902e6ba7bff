package garbage

import (
	"context"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/lifecycle/inventory"
)

// patchOwners changes the owner references of an object; change returns nil for nothing to do.
func (c *Controller) patchOwners(ctx context.Context, o *inventory.Object, change func([]metav1.OwnerReference) []metav1.OwnerReference) error {
	return c.inventory.PatchMetadata(ctx, o, func(m *metav1.ObjectMeta) map[string]any {
		if refs := change(m.OwnerReferences); refs != nil {
			return map[string]any{"ownerReferences": refs}
		}
		return nil
	})
}

func without(uids []string) func([]metav1.OwnerReference) []metav1.OwnerReference {
	return func(refs []metav1.OwnerReference) []metav1.OwnerReference {
		left := make([]metav1.OwnerReference, 0, len(refs))
		for _, r := range refs {
			if !slices.Contains(uids, string(r.UID)) {
				left = append(left, r)
			}
		}
		if len(left) == len(refs) {
			return nil
		}
		return left
	}
}

func unblocked(refs []metav1.OwnerReference) []metav1.OwnerReference {
	changed := false
	out := slices.Clone(refs)
	for i := range out {
		if b := out[i].BlockOwnerDeletion; b != nil && *b {
			no := false
			out[i].BlockOwnerDeletion, changed = &no, true
		}
	}
	if !changed {
		return nil
	}
	return out
}

func withoutFinalizer(m *metav1.ObjectMeta, finalizer string) map[string]any {
	left := make([]string, 0, len(m.Finalizers))
	for _, f := range m.Finalizers {
		if f != finalizer {
			left = append(left, f)
		}
	}
	if len(left) == len(m.Finalizers) {
		return nil
	}
	return map[string]any{"finalizers": left}
}

// maxAbsentees bounds how many deleted owners are remembered. Forgetting one costs its dependents a read each.
const maxAbsentees = 4096

// absentees remembers uids that are known to have gone.
type absentees struct {
	max int

	mu   sync.Mutex
	uids map[string]struct{}
}

func newAbsentees(limit int) *absentees { return &absentees{max: limit, uids: map[string]struct{}{}} }

func (a *absentees) add(uid string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for other := range a.uids {
		if len(a.uids) < a.max {
			break
		}
		delete(a.uids, other)
	}
	a.uids[uid] = struct{}{}
}

// remove takes back what was wrong, as after a backup was restored.
func (a *absentees) remove(uid string) {
	a.mu.Lock()
	delete(a.uids, uid)
	a.mu.Unlock()
}

func (a *absentees) has(uid string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.uids[uid]
	return ok
}
