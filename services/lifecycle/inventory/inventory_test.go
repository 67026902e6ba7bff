package inventory

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
)

func sample() *metav1.PartialObjectMetadata {
	now, yes := metav1.Now(), true
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: "team", Name: "web", UID: "u", GenerateName: "w", ResourceVersion: "7", Generation: 3, CreationTimestamp: now, DeletionTimestamp: &now,
		Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d", metav1.InitialEventsAnnotationKey: "true"},
		OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "rs", UID: "o1", Controller: &yes, BlockOwnerDeletion: &yes},
			{APIVersion: "v1", Kind: "ConfigMap", Name: "cm", UID: "o2"},
		},
		Finalizers:    []string{"f1", "f2"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m", FieldsV1: &metav1.FieldsV1{Raw: []byte("{}")}}},
	}}
}

func TestMetadataIsReadFromItsProtobufForm(t *testing.T) {
	data, err := sample().Marshal()
	require.NoError(t, err)
	kind := &Kind{Version: "v1", Kind: "Pod"}
	obj, annotation, err := decode(data, kind, metav1.InitialEventsAnnotationKey)
	require.NoError(t, err)
	require.Equal(t, "true", annotation)
	require.Equal(t, &Object{
		Kind: kind, Namespace: "team", Name: "web", UID: "u", Deleting: true, Finalizers: []string{"f1", "f2"},
		Owners: []Owner{{"apps/v1", "ReplicaSet", "rs", "o1", true}, {"v1", "ConfigMap", "cm", "o2", false}},
	}, obj)
	for n := range data {
		_, _, _ = decode(data[:n], kind, "") // must not panic
	}
}

func TestTheInventoryKnowsWhoBelongsToWhom(t *testing.T) {
	inv := New(nil, nil)
	var told []string
	inv.OnChange(func(old, new *Object) {
		switch {
		case old == nil:
			told = append(told, "+"+new.UID)
		case new == nil:
			told = append(told, "-"+old.UID)
		default:
			told = append(told, "~"+new.UID)
		}
	})
	kind := &Kind{Kind: "Pod", Namespaced: true}
	child := func(deleting bool) *Object {
		return &Object{Kind: kind, Namespace: "team", Name: "c", UID: "c", Owners: []Owner{{UID: "o"}}, Deleting: deleting}
	}
	inv.put(child(false))
	inv.put(child(false))
	require.Equal(t, []*Object{child(false)}, inv.Dependents("o"))
	require.Equal(t, map[*Kind]int{kind: 1}, inv.Content("team"))
	inv.put(child(true))
	require.Equal(t, map[*Kind]int{kind: 1}, inv.Content("team"))
	inv.dropKind(kind, map[string]bool{"other": true})
	require.Empty(t, inv.Dependents("o"))
	require.Empty(t, inv.Content("team"))
	require.Empty(t, inv.dependents)
	require.Equal(t, []string{"+c", "~c", "-c"}, told, "what is the same is not told")
}

func TestOneVersionOfAKindIsFollowed(t *testing.T) {
	info := func(version string, preferred bool) *apiv1.KindInfo {
		return &apiv1.KindInfo{Group: "autoscaling", Version: version, Kind: "H", Resource: "hs", Verbs: []string{"list", "watch", "delete"}, Preferred: preferred}
	}
	kinds := kindsOf([]*apiv1.KindInfo{info("v1", false), info("v2", true)}, nil)
	require.Len(t, kinds, 1)
	require.Equal(t, "autoscaling/v2", kinds[0].APIVersion())
	require.True(t, kinds[0].List && kinds[0].Delete && !kinds[0].DeleteCollection)
	again := kindsOf([]*apiv1.KindInfo{info("v2", true)}, kinds)
	require.Same(t, kinds[0], again[0], "a kind that stays keeps its identity")
}

func BenchmarkDecode(b *testing.B) {
	data, err := sample().Marshal()
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := decode(data, nil, ""); err != nil {
			b.Fatal(err)
		}
	}
}
