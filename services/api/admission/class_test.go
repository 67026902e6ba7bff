package admission

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/registry"
)

// classes are storage classes, by name and age in hours.
type classes map[string]time.Duration

func (classes) Read(context.Context, schema.GroupVersionKind, string, string) (registry.Object, error) {
	return nil, nil
}

func (c classes) ReadAll(_ context.Context, gvk schema.GroupVersionKind, _ string) (out []registry.Object, _ error) {
	for _, name := range []string{"a", "b", "c"} {
		if age, ok := c[name]; ok {
			out = append(out, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{
				Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1e9, 0).Add(-age)), Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"},
			}})
		}
	}
	return out, nil
}

func TestOfSeveralDefaultClassesTheNewestCounts(t *testing.T) {
	for _, c := range []struct {
		classes classes
		want    string
	}{
		{classes{"a": 2 * time.Hour, "b": time.Hour, "c": 3 * time.Hour}, "b"},
		{classes{"c": time.Hour, "b": time.Hour}, "b"},
	} {
		claim := &corev1.PersistentVolumeClaim{}
		require.NoError(t, defaultClasses{c.classes}.Admit(t.Context(), &Attributes{Operation: Create, Object: claim}))
		require.Equal(t, c.want, *claim.Spec.StorageClassName)
	}
}
