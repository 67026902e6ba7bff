package vm

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const mounters = `
{apiVersion: v1, kind: Pod, metadata: {name: watcher}, spec: {terminationGracePeriodSeconds: 1, volumes: [{name: v, hostPath: {path: /srv/shared, type: DirectoryOrCreate}}], containers: [
  {name: sees, image: my-app, imagePullPolicy: IfNotPresent, volumeMounts: [{name: v, mountPath: /v, mountPropagation: HostToContainer}]},
  {name: alone, image: my-app, imagePullPolicy: IfNotPresent, command: [sleep, "1000"], volumeMounts: [{name: v, mountPath: /v}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: mounter}, spec: {volumes: [{name: host, hostPath: {path: /srv/shared, type: DirectoryOrCreate}}, {name: own, emptyDir: {}}], containers: [
  {name: mounts, image: my-app, imagePullPolicy: IfNotPresent, securityContext: {privileged: true}, command: [sh, -c, "` +
	`trap 'umount /host/inner; exit' TERM; until [ -e /own/go ]; do sleep 0.2; done; ` +
	`for at in /host /own; do mkdir $at/inner; mount -t tmpfs karve-inner $at/inner; echo seen >$at/inner/file; done; while :; do sleep 0.2; done"],
   volumeMounts: [{name: host, mountPath: /host, mountPropagation: Bidirectional}, {name: own, mountPath: /own, mountPropagation: Bidirectional}]},
  {name: sees, image: my-app, imagePullPolicy: IfNotPresent, command: [sleep, "1000"], volumeMounts: [{name: own, mountPath: /v, mountPropagation: HostToContainer}]}]}}
`

// propagation lets a pod mount something for others: for its own containers in a volume of its own, and for the machine and
// another pod in a folder of the machine's.
func (n *node) propagation(t *testing.T) {
	n.Apply(mounters)
	n.ready("watcher", "mounter")
	see := func(pod, container, path string) string {
		out, _ := n.TryKubectl("", "exec", pod, "-c", container, "--", "cat", path)
		return out
	}
	n.Kubectl("exec", "mounter", "-c", "sees", "--", "touch", "/v/go")
	n.Eventually("the other container sees it", func() string {
		if got := see("mounter", "sees", "/v/inner/file"); got != "seen\n" {
			return "it sees " + got
		}
		return ""
	})
	require.Equal(t, "seen\n", see("watcher", "sees", "/v/inner/file"))
	require.Equal(t, "seen", run(t, "cat /srv/shared/inner/file"))
	require.Contains(t, see("watcher", "alone", "/v/inner/file"), "No such file")

	n.Kubectl("delete", "pod", "mounter", "--grace-period=20")
	require.Equal(t, "0", run(t, "grep -c karve-inner /proc/mounts || true"), "the pod has unmounted one itself, and the node the other")
	n.Kubectl("delete", "pod", "watcher", "--wait=false")

	refused := n.KubectlFails(`{apiVersion: v1, kind: Pod, metadata: {name: modest}, spec: {volumes: [{name: v, emptyDir: {}}], containers: [
  {name: c, image: my-app, volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]}]}}`, "apply", "-f", "-")
	require.Contains(t, refused, "Bidirectional mount propagation is available only to privileged containers")
}
