package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

// TestStaticPods puts a manifest into a node's folder, changes it and takes it away, and looks through kubectl.
func TestStaticPods(t *testing.T) {
	c := cluster.Start(t)
	node := c.Kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
	file := filepath.Join(c.DataDir, "nodes", node, "manifests", "web.yaml")
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	manifest := func(image string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {app: web}}\nspec: {terminationGracePeriodSeconds: 1, containers: [{name: app, image: '" + image + "'}]}\n"
	}
	shows := func(what, image string) {
		t.Helper()
		c.Eventually(what, func() string {
			out, _ := c.TryKubectl("", "get", "pod", "web-"+node, "-o", "jsonpath={.status.phase} {.spec.containers[0].image} {.metadata.ownerReferences[0].kind}")
			if out == "Running "+image+" Node" {
				return ""
			}
			return out
		})
	}
	require.NoError(t, os.WriteFile(file, []byte(manifest("my-app")), 0o600))
	shows("the pod runs", "my-app")
	first := c.Containers("label=karve.dev/container=app")
	require.Len(t, first, 1)

	c.Kubectl("delete", "pod", "web-"+node)
	shows("what was deleted in the API is there again", "my-app")
	require.Equal(t, first, c.Containers("label=karve.dev/container=app"), "its container has not noticed")
	require.Contains(t, c.Kubectl("drain", node, "--ignore-daemonsets"), "drained")
	shows("a drain leaves it alone", "my-app")
	require.True(t, strings.HasPrefix(c.Kubectl("logs", "web-"+node), "20"))

	require.NoError(t, os.WriteFile(file, []byte(manifest("my-app:v2")), 0o600))
	shows("a changed manifest is a new pod", "my-app:v2")
	c.Kill()
	require.NoError(t, os.Remove(file))
	c.Up()
	c.Eventually("it is gone", func() string {
		out, _ := c.TryKubectl("", "get", "pods", "-o", "name")
		return strings.TrimSpace(out + strings.Join(c.Containers(), " "))
	})
}
