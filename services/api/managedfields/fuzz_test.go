package managedfields_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/services/api/managedfields"
	"karve.dev/karve/services/api/registry"
)

// FuzzApply: whatever is applied to a pod is merged or refused, and what was merged can be applied again.
func FuzzApply(f *testing.F) {
	for _, seed := range []string{
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}]}]}}`,
		"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, env: [{name: A, value: x}]}], tolerations: [{key: a}]}",
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":null},"spec":null}`,
		`{"apiVersion":"v1","kind":"Pod","metadata":{"finalizers":["a","a"]},"status":{"conditions":[{"type":"Ready"}]}}`,
		"a: &a [*a]", "- x", "{", "",
	} {
		f.Add([]byte(seed))
	}
	k := kind(f, "Pod")
	tracker := &managedfields.Tracker{}
	f.Fuzz(func(t *testing.T, data []byte) {
		patch, _, err := managedfields.ParsePatch(data)
		if err != nil {
			return
		}
		live := registry.Object(&corev1.Pod{})
		live.SetName("p")
		write := managedfields.Write{Kind: k, Manager: "one"}
		once, err := tracker.Apply(write, live, patch, false)
		if err != nil {
			return
		}
		if _, err := tracker.Apply(write, once.DeepCopyObject().(registry.Object), patch, false); err != nil {
			t.Fatalf("applied once but not twice: %v", err)
		}
	})
}
