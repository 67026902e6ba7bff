package node_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/node"
	"karve.dev/karve/agents/node/image"
	"karve.dev/karve/agents/node/machine"
)

func (w *world) onEngine(ref string) bool {
	_, err := w.cli.ImageInspect(context.Background(), ref)
	return err == nil
}

func from(image, name string) *corev1.Pod {
	p := pod(name, corev1.Container{})
	p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = image, corev1.PullIfNotPresent
	p.Spec.TerminationGracePeriodSeconds = new(int64(1))
	return p
}

// TestImagesAreRemovedWhenTheDiskIsFull fills a made-up disk. Of the images on the engine only that goes which a pod
// brought and none uses.
func TestImagesAreRemovedWhenTheDiskIsFull(t *testing.T) {
	m := newInvented()
	w := newWorld(t, 41)
	w.stop()
	w.change = func(cfg *node.Config) {
		cfg.Machine, cfg.MeasureEvery, cfg.Images = m, 10*time.Millisecond, image.Limits{MinAge: time.Millisecond}
	}
	w.start()
	reg := newRegistry(t, "")
	unused, used, mine := reg.host+"/unused:1", reg.host+"/used:1", reg.host+"/mine:1"
	res, err := w.cli.ImagePull(context.Background(), mine, client.ImagePullOptions{}) // a developer does
	require.NoError(t, err)
	require.NoError(t, res.Wait(context.Background()))
	t.Cleanup(func() {
		for _, ref := range []string{unused, used, mine} {
			_, _ = w.cli.ImageRemove(context.Background(), ref, client.ImageRemoveOptions{})
		}
	})
	for ref, name := range map[string]string{unused: "gone", mine: "gone-too", used: "stays"} {
		w.create(from(ref, name))
		w.wait(name, "running", running)
	}
	w.delete("gone", 0)
	w.delete("gone-too", 0)
	w.wait("gone", "gone", gone)
	w.wait("gone-too", "gone", gone)
	require.True(t, w.onEngine(unused), "there is room for it")

	m.change(func(f *machine.Figures) { f.ImageDisk.Free = 14 << 30; f.NodeDisk.Free = 14 << 30 })
	require.Eventually(t, func() bool { return !w.onEngine(unused) }, 20*time.Second, 20*time.Millisecond)
	w.waitEvent("FreeDiskSpaceFailed") // the rest is not for the node to remove
	require.True(t, w.onEngine(used))
	require.True(t, w.onEngine(mine))
	require.True(t, w.onEngine(appImage))
	w.wait("stays", "still running", running)
}

func TestRegistryLogins(t *testing.T) {
	w := newWorld(t, 42)
	reg := newRegistry(t, "jane:secret")
	auth := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, reg.host, base64.StdEncoding.EncodeToString([]byte("jane:secret")))
	images := []string{reg.host + "/secret:1", reg.host + "/node:1", reg.host + "/none:1"}
	t.Cleanup(func() {
		for _, ref := range images {
			_, _ = w.cli.ImageRemove(context.Background(), ref, client.ImageRemoveOptions{Force: true})
		}
	})
	w.create(from(images[2], "no-login"))
	refused := w.wait("no-login", "refused", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil && p.Status.ContainerStatuses[0].State.Waiting.Reason == "ImagePullBackOff"
	})
	require.Contains(t, refused.Status.ContainerStatuses[0].State.Waiting.Message, "no basic auth credentials")

	w.setSecret(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "reg"}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(auth)},
	})
	withSecret := from(images[0], "pull-secret")
	withSecret.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "reg"}}
	w.create(withSecret)
	w.wait("pull-secret", "running", running)

	require.NoError(t, os.WriteFile(filepath.Join(w.dataDir, "config.json"), []byte(auth), 0o600))
	w.create(from(images[1], "node-login"))
	w.wait("node-login", "running", running)

	w.create(from(reg.host+"/missing:1", "missing"))
	missing := w.wait("missing", "not found", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil && p.Status.ContainerStatuses[0].State.Waiting.Reason == "ErrImagePull"
	})
	require.Regexp(t, "manifest .*(unknown|not found)|not found", missing.Status.ContainerStatuses[0].State.Waiting.Message)
}
