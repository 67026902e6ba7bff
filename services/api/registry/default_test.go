package registry_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"karve.dev/karve/services/api/registry"
)

// Objects are shown as they are stored after a create; all of them are valid.
func TestDefaults(t *testing.T) {
	var out bytes.Buffer
	for _, obj := range objects(t, "testdata/defaults.yaml") {
		k, ok := registry.Lookup(obj.GetObjectKind().GroupVersionKind())
		require.True(t, ok)
		k.Default(obj)
		k.PrepareCreate(obj)
		require.Empty(t, k.Validate(obj), obj.GetName())
		data, err := yaml.Marshal(obj)
		require.NoError(t, err)
		out.Write(data)
		out.WriteString("---\n")
	}
	if *update {
		require.NoError(t, os.WriteFile("testdata/defaults.txt", out.Bytes(), 0o644))
	}
	want, err := os.ReadFile("testdata/defaults.txt")
	require.NoError(t, err)
	require.Equal(t, string(want), out.String())
}
