package codec

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", Labels: map[string]string{"a": "b"}, ResourceVersion: "3"},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
}

func TestStoredBytesPlusTailAreTheObject(t *testing.T) {
	gvk := corev1.SchemeGroupVersion.WithKind("Pod")
	p := pod()
	value, err := Encode(gvk, p)
	require.NoError(t, err)
	require.Equal(t, "3", p.ResourceVersion)
	raw, protobuf, err := Raw(value)
	require.NoError(t, err)
	require.True(t, protobuf)

	got := &corev1.Pod{}
	require.NoError(t, got.Unmarshal(AppendProtobuf(nil, raw, 123456)))
	want := pod()
	want.ResourceVersion = "123456"
	require.Equal(t, want, got)

	decoded := &corev1.Pod{}
	require.NoError(t, Decode(value, 123456, decoded))
	require.Equal(t, want, decoded)

	meta, err := MetadataOnly(raw)
	require.NoError(t, err)
	partial := &metav1.PartialObjectMetadata{}
	require.NoError(t, partial.Unmarshal(AppendProtobuf(nil, meta, 9)))
	require.Equal(t, "web", partial.Name)
	require.Equal(t, "9", partial.ResourceVersion)
}

func TestListIsMadeOfItsItemsBytes(t *testing.T) {
	value, err := Encode(corev1.SchemeGroupVersion.WithKind("Pod"), pod())
	require.NoError(t, err)
	raw, _, err := Raw(value)
	require.NoError(t, err)
	list, err := NewList(metav1.ListMeta{ResourceVersion: "77"}, 0)
	require.NoError(t, err)
	for _, revision := range []int64{1, 10, 99, 100, 1 << 40} {
		list.Add(raw, revision)
	}
	got := &corev1.PodList{}
	require.NoError(t, got.Unmarshal(list.Bytes()))
	require.Equal(t, "77", got.ResourceVersion)
	require.Len(t, got.Items, 5)
	require.Equal(t, "100", got.Items[3].ResourceVersion)
	require.Equal(t, "n1", got.Items[3].Spec.NodeName)
}

func TestJSONHasKindOnlyAlone(t *testing.T) {
	p := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}
	body, err := Body(p)
	require.NoError(t, err)
	require.JSONEq(t, `{"metadata":{"name":"x"}}`, string(body))
	require.JSONEq(t, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x"}}`, string(WithKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"), body)))
	list := append(ListHead(corev1.SchemeGroupVersion.WithKind("ConfigMapList"), []byte(`{}`)), "]}"...)
	require.JSONEq(t, `{"kind":"ConfigMapList","apiVersion":"v1","metadata":{},"items":[]}`, string(list))
}

func TestLabelsAreReadWithoutDecoding(t *testing.T) {
	for _, labels := range []map[string]string{nil, {"a": "b"}, {"a": "", "app.kubernetes.io/name": "web", "x": "y"}} {
		p := pod()
		p.Labels = labels
		value, err := Encode(corev1.SchemeGroupVersion.WithKind("Pod"), p)
		require.NoError(t, err)
		got, err := Labels(value)
		require.NoError(t, err)
		require.Equal(t, labels, got)
	}
}

func BenchmarkLabels(b *testing.B) {
	value, _ := Encode(corev1.SchemeGroupVersion.WithKind("Pod"), pod())
	b.ReportAllocs()
	for b.Loop() {
		_, _ = Labels(value)
	}
}
