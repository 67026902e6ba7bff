package vm

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// profile lets a container do everything but write to one folder.
const profile = `profile karve-test flags=(attach_disconnected) {
  network, capability, file, signal, ptrace, umount, mount,
  deny /locked/** w,
}
`

// loadProfile gives the kernel a profile that pods can name.
func loadProfile(t *testing.T) {
	require.NoError(t, os.WriteFile("/tmp/profile", []byte(profile), 0o644))
	run(t, "apparmor_parser --replace --skip-cache /tmp/profile")
}

// appArmor confines containers as their pods say.
func (n *node) appArmor(t *testing.T) {
	confined := map[string]string{
		"plain":      `{}`,
		"default":    `{appArmorProfile: {type: RuntimeDefault}}`,
		"unconfined": `{appArmorProfile: {type: Unconfined}}`,
		"own":        `{appArmorProfile: {type: Localhost, localhostProfile: karve-test}}`,
		"missing":    `{appArmorProfile: {type: Localhost, localhostProfile: nowhere}}`,
	}
	manifest := ""
	for name, context := range confined {
		manifest += fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %s}, spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: my-app, imagePullPolicy: IfNotPresent, securityContext: %s}]}}\n---\n", name, context)
	}
	n.Apply(manifest)
	n.ready("plain", "default", "unconfined", "own")
	for name, want := range map[string]string{"plain": "docker-default (enforce)", "default": "docker-default (enforce)", "unconfined": "unconfined", "own": "karve-test (enforce)"} {
		require.Equal(t, want, n.in(name, "cat /proc/self/attr/current"), name)
	}
	const write = "mkdir /locked; echo x >/locked/file"
	require.Contains(t, n.in("own", write), "Permission denied")
	require.Empty(t, n.in("unconfined", write))
	n.says("missing", "apparmor profile not found nowhere")
	n.Kubectl("delete", "pod", "plain", "default", "unconfined", "own", "missing", "--wait=false")
}

// ipvs reaches a Service from a pod.
func (n *node) ipvs(t *testing.T) {
	n.ready("bounded")
	address := n.Kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	n.Eventually("the Service answers", func() string {
		if got := n.in("bounded", "wget -qO- http://"+address+"/"); got != "hello from bounded, version 1" {
			return got
		}
		return ""
	})
	var a, b, c, d int
	_, err := fmt.Sscanf(address, "%d.%d.%d.%d", &a, &b, &c, &d)
	require.NoError(t, err)
	require.Contains(t, run(t, "cat /proc/net/ip_vs"), fmt.Sprintf("TCP  %02X%02X%02X%02X:0050 rr", a, b, c, d))
	require.Contains(t, n.Kubectl("get", "node", "vm", "-o", "yaml"), "ipvs")
}
