package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

// TestThreeNodesOnOneEngine: each node has its own bridge and range, and pods reach each other across them.
func TestThreeNodesOnOneEngine(t *testing.T) {
	c := cluster.Start(t, "--nodes", "3")
	ranges := strings.Fields(c.Kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.podCIDR}"))
	require.Len(t, ranges, 3)
	nodes := strings.Fields(c.Kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"))
	for i, node := range nodes {
		c.Apply(fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: p%d, labels: {app: p}}\nspec:\n  nodeSelector: {kubernetes.io/hostname: %s}\n  containers: [{name: c, image: my-app}]\n", i, node))
	}
	c.Kubectl("wait", "--for=condition=Ready", "pod", "-l", "app=p", "--timeout=60s")
	ips := strings.Fields(c.Kubectl("get", "pods", "-l", "app=p", "-o", "jsonpath={.items[*].status.podIP}"))
	require.Len(t, ips, 3)
	for i := range nodes {
		for j, ip := range ips {
			out := c.Kubectl("exec", fmt.Sprintf("p%d", i), "--", "wget", "-qO-", "http://"+ip+":8080")
			require.Contains(t, out, fmt.Sprintf("hello from p%d,", j))
		}
	}
	c.Kubectl("expose", "pod", "p0", "--name=one", "--port=80", "--target-port=8080", "--selector=app=p", "--type=NodePort")
	c.Eventually("the Service answers on every node from inside", func() string {
		ip := c.Kubectl("get", "service", "one", "-o", "jsonpath={.spec.clusterIP}")
		for i := range nodes {
			if out, err := c.TryKubectl("", "exec", fmt.Sprintf("p%d", i), "--", "wget", "-qO-", "http://"+ip); err != nil {
				return out
			}
		}
		return ""
	})
	port := c.Kubectl("get", "service", "one", "-o", "jsonpath={.spec.ports[0].nodePort}")
	address := strings.Fields(c.Kubectl("get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`))[0]
	body, err := get("http://" + address + ":" + port)
	require.NoError(t, err)
	require.Contains(t, body, "hello from p")
}

// TestCordonAndTaints keep pods away, and say so.
func TestCordonAndTaints(t *testing.T) {
	c := cluster.Start(t, "--nodes", "2")
	nodes := strings.Fields(c.Kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"))
	c.Kubectl("cordon", nodes[0])
	require.Contains(t, c.Kubectl("get", "node", nodes[0]), "Ready,SchedulingDisabled")
	c.Kubectl("taint", "node", nodes[1], "gpu=yes:NoSchedule")
	c.Kubectl("run", "waits", "--image=my-app")
	c.Eventually("the reasons are told", func() string {
		out := c.Kubectl("describe", "pod", "waits")
		if strings.Contains(out, "0/2 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.") {
			return ""
		}
		return out
	})
	c.Kubectl("uncordon", nodes[0])
	c.Kubectl("wait", "--for=condition=Ready", "pod/waits", "--timeout=60s")
	require.Equal(t, nodes[0], c.Kubectl("get", "pod", "waits", "-o", "jsonpath={.spec.nodeName}"))
}
