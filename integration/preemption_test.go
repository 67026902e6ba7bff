package integration

import (
	"testing"

	"karve.dev/karve/integration/cluster"
)

const important = `
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: batch}
spec:
  replicas: 2
  selector: {matchLabels: {app: batch}}
  template:
    metadata: {labels: {app: batch}}
    spec:
      terminationGracePeriodSeconds: 2
      containers: [{name: app, image: my-app, resources: {requests: {example.org/slot: 1}, limits: {example.org/slot: 1}}}]
`

const vip = `
apiVersion: v1
kind: Pod
metadata: {name: vip}
spec:
  priorityClassName: high
  containers: [{name: app, image: my-app, resources: {requests: {example.org/slot: 1}, limits: {example.org/slot: 1}}}]
`

// TestAnImportantPodDisplacesALesserOne goes the whole way: the victim ends in order, its place is taken, and its successor
// waits and says that nobody makes room for it.
func TestAnImportantPodDisplacesALesserOne(t *testing.T) {
	c := cluster.Start(t)
	node := c.Kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
	c.Kubectl("patch", "node", node, "--subresource=status", "-p", `{"status":{"capacity":{"example.org/slot":"2"},"allocatable":{"example.org/slot":"2"}}}`)
	c.Apply(important)
	c.Kubectl("rollout", "status", "deploy/batch", "--timeout=60s")
	c.Apply(vip)
	c.Kubectl("wait", "--for=condition=Ready", "pod/vip", "--timeout=60s")
	c.Eventually("one of the others has made room and says so", func() string {
		return lacks(c.Kubectl("get", "events"), "Preempted by pod", "on node "+node, "Preempted")
	})
	c.Eventually("its successor waits", func() string {
		return lacks(c.Kubectl("get", "pods", "-l", "app=batch")+c.Kubectl("describe", "pods", "-l", "app=batch"), "1/1", "Pending",
			"0/1 nodes are available: 1 Insufficient example.org/slot. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.")
	})
}
