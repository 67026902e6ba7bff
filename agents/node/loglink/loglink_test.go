package loglink

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/agents/node/runtime"
)

func TestLinks(t *testing.T) {
	root := t.TempDir()
	d := Dir(filepath.Join(root, "log"))
	engine := func(id, text string) string {
		file := filepath.Join(root, id)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	files := func() (out []string) {
		for _, pattern := range []string{"pods/*/*/*", "containers/*"} {
			found, err := filepath.Glob(filepath.Join(string(d), pattern))
			require.NoError(t, err)
			for _, f := range found {
				name, err := filepath.Rel(string(d), f)
				require.NoError(t, err)
				out = append(out, name)
			}
		}
		return out
	}
	web := &runtime.Meta{Namespace: "shop", Pod: "web", UID: "u1", Container: "app"}
	require.NoError(t, d.Add(web, "id0", engine("id0", "first")))
	again := *web
	again.Attempt = 1
	require.NoError(t, d.Add(&again, "id1", engine("id1", "second")))
	other := &runtime.Meta{Namespace: "shop", Pod: "web-2", UID: "u2", Container: "app"}
	require.NoError(t, d.Add(other, "id2", engine("id2", "other")))
	require.Equal(t, []string{
		"pods/shop_web-2_u2/app/0.log", "pods/shop_web_u1/app/0.log", "pods/shop_web_u1/app/1.log",
		"containers/web-2_shop_app-id2.log", "containers/web_shop_app-id0.log", "containers/web_shop_app-id1.log",
	}, files())
	text, err := os.ReadFile(filepath.Join(string(d), "containers", "web_shop_app-id1.log"))
	require.NoError(t, err)
	require.Equal(t, "second", string(text))

	require.NoError(t, os.Remove(filepath.Join(root, "id0")))
	require.NoError(t, d.Add(&again, "id1", filepath.Join(root, "id1")))
	require.NotContains(t, files(), "pods/shop_web_u1/app/0.log", "the container is gone")
	require.NoError(t, d.RemovePod(web))
	require.Equal(t, []string{"pods/shop_web-2_u2/app/0.log", "containers/web-2_shop_app-id2.log"}, files())
	require.NoError(t, os.Remove(filepath.Join(root, "id2")))
	d.Sweep()
	left, err := os.ReadDir(d.pods())
	require.NoError(t, err)
	require.Empty(t, left)
	require.Empty(t, files())
	require.NoError(t, Dir("").Add(web, "id", "log"))
}
