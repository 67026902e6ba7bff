package node_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestStaticPodsNeedNoAPI(t *testing.T) {
	w := newWorld(t, 16)
	manifests := filepath.Join(w.dataDir, "manifests")
	require.NoError(t, os.MkdirAll(manifests, 0o755))
	write := func(label string) {
		t.Helper()
		text := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: guard, labels: {is: %s}}\nspec: {containers: [{name: app, image: %s}]}\n", label, appImage)
		require.NoError(t, os.WriteFile(filepath.Join(manifests, "guard.yaml"), []byte(text), 0o644))
	}
	const name = "guard-" + nodeName
	write("one")
	is := func(label string) func(*corev1.Pod) bool {
		return func(p *corev1.Pod) bool { return running(p) && p.Labels["is"] == label }
	}
	p := w.wait(name, "running", is("one"))
	require.Equal(t, "file", p.Annotations["kubernetes.io/config.source"])
	require.Equal(t, p.Annotations["kubernetes.io/config.hash"], p.Annotations[corev1.MirrorPodAnnotationKey])
	require.Equal(t, "Node", p.OwnerReferences[0].Kind)
	container := idOf(p)

	// It outlives the agent, and a mirror that somebody removes comes back.
	w.stop()
	w.start()
	w.remove(name)
	p = w.wait(name, "back", is("one"))
	require.Equal(t, container, idOf(p), "the pod itself was not touched")

	// A broken file changes nothing; another pod takes the old one's place; none is none.
	require.NoError(t, os.WriteFile(filepath.Join(manifests, "broken.yaml"), []byte("kind: ["), 0o644))
	write("two")
	p = w.wait(name, "changed", is("two"))
	require.NotEqual(t, container, idOf(p))
	require.NoError(t, os.Remove(filepath.Join(manifests, "guard.yaml")))
	w.wait(name, "gone", gone)
}
