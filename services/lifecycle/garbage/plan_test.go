package garbage

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/lifecycle/inventory"
)

func object(uid string, change ...func(*inventory.Object)) *inventory.Object {
	o := &inventory.Object{UID: uid, Name: uid}
	for _, fn := range change {
		fn(o)
	}
	return o
}

func ownedBy(uid string, block bool) func(*inventory.Object) {
	return func(o *inventory.Object) { o.Owners = append(o.Owners, inventory.Owner{UID: uid, Block: block}) }
}

func deleting(finalizers ...string) func(*inventory.Object) {
	return func(o *inventory.Object) { o.Deleting, o.Finalizers = true, finalizers }
}

func TestWhatHappensToAnObject(t *testing.T) {
	two := object("x", ownedBy("a", true), ownedBy("b", true))
	blocker, bystander := object("d", ownedBy("x", true)), object("e", ownedBy("x", false))
	circle := object("f", ownedBy("x", true), deleting(metav1.FinalizerDeleteDependents))
	for _, c := range []struct {
		what string
		view view
		want step
	}{
		{"nobody owns it", view{object: object("x")}, step{}},
		{"its owners live", view{object: two, owners: []standing{present, present}}, step{}},
		{"one owner has gone", view{object: two, owners: []standing{absent, present}}, step{dropOwners: []string{"a"}}},
		{"one owner waits for it, the other lives", view{object: two, owners: []standing{waiting, present}}, step{dropOwners: []string{"a"}}},
		{"both owners have gone", view{object: two, owners: []standing{absent, absent}}, step{remove: true, policy: metav1.DeletePropagationBackground}},
		{"an owner of a kind that is not served", view{object: two, owners: []standing{absent, unknown}}, step{}},
		{"its owner waits for it", view{object: two, owners: []standing{absent, waiting}}, step{remove: true, policy: metav1.DeletePropagationBackground}},
		{"its owner waits for it and it has dependents", view{object: two, owners: []standing{absent, waiting}, dependents: []*inventory.Object{blocker}}, step{remove: true, policy: metav1.DeletePropagationForeground}},
		{"and is part of a circle", view{object: two, owners: []standing{absent, waiting}, dependents: []*inventory.Object{circle}}, step{remove: true, policy: metav1.DeletePropagationForeground, unblock: true}},
		{"somebody deletes it", view{object: object("x", ownedBy("a", true), deleting("other"))}, step{}},
		{"in the foreground", view{object: object("x", deleting(metav1.FinalizerDeleteDependents)), dependents: []*inventory.Object{blocker, bystander}}, step{collect: []*inventory.Object{blocker}}},
		{"in the foreground, and nobody blocks", view{object: object("x", deleting(metav1.FinalizerDeleteDependents)), dependents: []*inventory.Object{bystander}}, step{dropFinalizer: metav1.FinalizerDeleteDependents}},
		{"letting its dependents live", view{object: object("x", deleting(metav1.FinalizerOrphanDependents)), dependents: []*inventory.Object{blocker}}, step{orphan: true, dropFinalizer: metav1.FinalizerOrphanDependents}},
	} {
		require.Equal(t, c.want, decide(c.view), c.what)
	}
}

func TestOwnersMustBeNamedRight(t *testing.T) {
	kind := &inventory.Kind{Version: "v1", Kind: "Pod"}
	owner := &inventory.Object{Kind: kind, Namespace: "a", Name: "p", UID: "u"}
	ref := inventory.Owner{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "u"}
	require.True(t, names(ref, &inventory.Object{Namespace: "a"}, owner))
	require.False(t, names(ref, &inventory.Object{Namespace: "b"}, owner), "an owner in another namespace owns nothing here")
	ref.Name = "q"
	require.False(t, names(ref, &inventory.Object{Namespace: "a"}, owner))
}
