package machine

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestHugePages(t *testing.T) {
	root := t.TempDir()
	for size, count := range map[string]string{"hugepages-2048kB": "32\n", "hugepages-1048576kB": "0\n"} {
		require.NoError(t, os.Mkdir(filepath.Join(root, size), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, size, "nr_hugepages"), []byte(count), 0o644))
	}
	list := corev1.ResourceList{}
	addHugePages(list, root)
	told := map[string]string{}
	for name, amount := range HugePages(list) {
		told[string(name)] = amount.String()
	}
	require.Equal(t, map[string]string{"hugepages-2Mi": "64Mi", "hugepages-1Gi": "0"}, told)
}
