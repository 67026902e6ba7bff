package garbage

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/lifecycle/inventory"
)

// standing is what an owner is to an object that names it.
type standing int

const (
	// unknown: nobody can say now, because the owner's kind is not served or cannot own this object. Nothing is done.
	unknown standing = iota
	// present: the object lives on.
	present
	// absent: there is no such owner, or another one has its name now.
	absent
	// waiting: the owner is being deleted in the foreground and waits for its dependents.
	waiting
)

// view is what a decision is made from.
type view struct {
	object *inventory.Object
	// owners has the standing of each of object's owners, in their order.
	owners []standing
	// dependents are the objects that name this one as an owner.
	dependents []*inventory.Object
}

// step is one thing to do. The zero step is nothing.
type step struct {
	// remove deletes the object; with policy.
	remove bool
	policy metav1.DeletionPropagation
	// dropOwners takes the owner references with these uids out of the object.
	dropOwners []string
	// unblock makes the object's owner references not block their owners: the object is part of a circle.
	unblock bool
	// orphan takes the reference to the object out of its dependents.
	orphan bool
	// dropFinalizer is taken off the object after all else.
	dropFinalizer string
	// collect lists dependents that must go first.
	collect []*inventory.Object
}

// decide returns what has to be done about one object now.
func decide(v view) step {
	switch o := v.object; {
	case o.Deleting && slices.Contains(o.Finalizers, metav1.FinalizerOrphanDependents):
		return step{orphan: len(v.dependents) > 0, dropFinalizer: metav1.FinalizerOrphanDependents}
	case inForeground(o):
		return foreground(v)
	case o.Deleting:
		return step{}
	}
	return owned(v)
}

func inForeground(o *inventory.Object) bool {
	return o.Deleting && slices.Contains(o.Finalizers, metav1.FinalizerDeleteDependents)
}

// foreground waits until no dependent that blocks is left.
func foreground(v view) step {
	var blockers []*inventory.Object
	for _, d := range v.dependents {
		if blocks(d, v.object.UID) {
			blockers = append(blockers, d)
		}
	}
	if len(blockers) == 0 {
		return step{dropFinalizer: metav1.FinalizerDeleteDependents}
	}
	return step{collect: blockers}
}

func blocks(dependent *inventory.Object, owner string) bool {
	return slices.ContainsFunc(dependent.Owners, func(o inventory.Owner) bool { return o.UID == owner && o.Block })
}

// owned decides about an object that nobody is deleting, by its owners.
func owned(v view) step {
	var drop []string
	held, waits := false, false
	for i, s := range v.owners {
		switch s {
		case unknown:
			return step{}
		case present:
			held = true
		case waiting:
			waits = true
			drop = append(drop, v.object.Owners[i].UID)
		case absent:
			drop = append(drop, v.object.Owners[i].UID)
		}
	}
	switch {
	case len(drop) == 0:
		return step{}
	case held:
		return step{dropOwners: drop}
	case waits && len(v.dependents) > 0:
		return step{remove: true, policy: metav1.DeletePropagationForeground, unblock: slices.ContainsFunc(v.dependents, inForeground)}
	}
	return step{remove: true, policy: policyOf(v.object)}
}

// policyOf keeps what somebody has already asked for.
func policyOf(o *inventory.Object) metav1.DeletionPropagation {
	switch {
	case slices.Contains(o.Finalizers, metav1.FinalizerOrphanDependents):
		return metav1.DeletePropagationOrphan
	case slices.Contains(o.Finalizers, metav1.FinalizerDeleteDependents):
		return metav1.DeletePropagationForeground
	}
	return metav1.DeletePropagationBackground
}
