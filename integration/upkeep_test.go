package integration

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

const tolerant = `apiVersion: v1
kind: Pod
metadata: {name: %NAME%}
spec:
  tolerations: [{operator: Exists}]
  priorityClassName: "%CLASS%"
  containers: [{name: app, image: "my-app:latest", imagePullPolicy: IfNotPresent}]
`

func tolerantPod(name, class string) string {
	return strings.NewReplacer("%NAME%", name, "%CLASS%", class).Replace(tolerant)
}

// TestShortage runs a node whose user wants more memory to be free than the machine has.
func TestShortage(t *testing.T) {
	c := cluster.Start(t, "--eviction-hard=memory.available<100%,nodefs.available<1%")
	c.Eventually("the node says so, and takes no pods", func() string {
		out := c.Kubectl("describe", "node")
		for _, want := range []string{"KubeletHasInsufficientMemory", "node.kubernetes.io/memory-pressure:NoSchedule"} {
			if !strings.Contains(out, want) {
				return out
			}
		}
		return ""
	})
	c.Kubectl("run", "careless", "--image=my-app:latest", "--image-pull-policy=IfNotPresent")
	c.Eventually("an ordinary pod is not placed there", func() string {
		out := c.Kubectl("get", "pod", "careless", "-o", "jsonpath={.status.conditions[?(@.type=='PodScheduled')].message}")
		if !strings.Contains(out, "1 node(s) had untolerated taint(s)") {
			return out
		}
		return ""
	})
	c.Apply(tolerantPod("system", "system-node-critical"))
	c.Kubectl("wait", "--for=condition=Ready", "pod/system", "--timeout=60s")
	c.Apply(tolerantPod("victim", ""))
	c.Kubectl("wait", "--for=jsonpath={.status.reason}=Evicted", "pod/victim", "--timeout=60s")
	require.Regexp(t, `^Failed The node was low on resource: memory\. Threshold quantity: \d+Ki, available: \d+Ki\. Container app was using \d+Ki, request is 0, has larger consumption of memory\. $`,
		c.Kubectl("get", "pod", "victim", "-o", "jsonpath={.status.phase} {.status.message}"))
	require.Equal(t, "TerminationByKubelet", c.Kubectl("get", "pod", "victim", "-o", "jsonpath={.status.conditions[?(@.type=='DisruptionTarget')].reason}"))
	require.Contains(t, c.Kubectl("get", "events"), "Evicted")
	require.Equal(t, "Running", c.Kubectl("get", "pod", "system", "-o", "jsonpath={.status.phase}"))
}

// TestDiskFiller has pods that write more than they may.
func TestDiskFiller(t *testing.T) {
	c := cluster.Start(t)
	c.Apply(`apiVersion: v1
kind: Pod
metadata: {name: talkative}
spec:
  containers:
  - {name: app, image: "my-app:latest", imagePullPolicy: IfNotPresent, resources: {limits: {ephemeral-storage: 16Ki}}}
`)
	c.Kubectl("wait", "--for=condition=Ready", "pod/talkative", "--timeout=60s")
	load := func() {
		ip := c.Kubectl("get", "pod", "talkative", "-o", "jsonpath={.status.podIP}")
		_, _ = c.Terminal("for i in $(seq 200); do curl -s -m 1 http://"+ip+":8080/ >/dev/null; done", "")
	}
	load() // each request is a line in its log
	c.Kubectl("wait", "--for=jsonpath={.status.reason}=Evicted", "pod/talkative", "--timeout=120s")
	require.Contains(t, c.Kubectl("get", "pod", "talkative", "-o", "jsonpath={.status.message}"), "ephemeral local storage usage exceeds the total limit of containers 16Ki.")
}

// TestShutdown ends a cluster as for a machine that goes down, and starts it again.
func TestShutdown(t *testing.T) {
	c := cluster.Start(t, "--shutdown-grace-period=20s", "--shutdown-grace-period-critical-pods=5s")
	c.Kubectl("create", "deployment", "app", "--image=my-app:latest")
	runApp(c, "alone")
	c.Kubectl("rollout", "status", "deployment/app", "--timeout=60s")
	before := podNames(c, "app=app")
	out, err := c.Karve("shutdown")
	require.NoError(t, err, out)
	require.Empty(t, c.Containers(), "nothing runs any more")
	c.Up()
	require.Equal(t, "Failed Terminated Pod was terminated in response to imminent node shutdown.",
		c.Kubectl("get", "pod", "alone", "-o", "jsonpath={.status.phase} {.status.reason} {.status.message}"))
	c.Kubectl("rollout", "status", "deployment/app", "--timeout=60s")
	c.Eventually("the deployment has another pod", func() string {
		if out := c.Kubectl("get", "pods", "-l", "app=app", "--field-selector=status.phase=Running", "-o", "name"); out == "" || strings.Contains(out, before[0]) {
			return out
		}
		return ""
	})
}
