package integration

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

const stubbornSet = `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 4
      containers:
      - name: app
        image: my-app:latest
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "trap '' TERM; echo began >> /data/log; while true; do sleep 1; done"]
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
`

// TestWhatHappenedWhileTheNodeWasAway changes pods, and the node, while the node's agent does not run.
func TestWhatHappenedWhileTheNodeWasAway(t *testing.T) {
	p := cluster.StartProcesses(t)
	p.Eventually("pods can be made", func() string {
		out, err := p.TryKubectl(stubbornSet, "apply", "-f", "-")
		if err != nil {
			return out
		}
		return ""
	})
	p.Kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
	uid := func() string { return p.Kubectl("get", "pod", "db-0", "-o", "jsonpath={.metadata.uid}") }

	t.Run("a StatefulSet's pod is deleted by force and made again: never two have its volume", func(t *testing.T) {
		before := uid()
		p.Kill("node")
		p.Kubectl("delete", "pod", "db-0", "--grace-period=0", "--force")
		p.Eventually("the set has another pod", func() string {
			out, err := p.TryKubectl("", "get", "pod", "db-0", "-o", "jsonpath={.metadata.uid} {.spec.nodeName}")
			if err != nil || strings.Contains(out, before) || !strings.HasSuffix(out, p.Node) {
				return "it has " + out
			}
			return ""
		})
		p.StartPart("node")
		onlyOne(t, p, uid())
		require.Equal(t, "began\nbegan\n", p.Kubectl("exec", "db-0", "--", "cat", "/data/log"))
		require.Contains(t, p.Kubectl("get", "events", "--field-selector=reason=Waiting"), "Waiting for the earlier pod of this name ("+before+") to end")
	})
	t.Run("the same while the agent runs", func(t *testing.T) {
		before := uid()
		p.Kubectl("delete", "pod", "db-0", "--grace-period=0", "--force")
		p.Eventually("the set has another pod", func() string {
			if out, err := p.TryKubectl("", "get", "pod", "db-0", "-o", "jsonpath={.metadata.uid}"); err != nil || out == before {
				return "it has " + out
			}
			return ""
		})
		onlyOne(t, p, uid())
	})
	t.Run("the node's object is deleted: it registers again, and what the API has forgotten goes", func(t *testing.T) {
		p.Kubectl("run", "alone", "--image=my-app:latest", "--image-pull-policy=IfNotPresent")
		p.Kubectl("wait", "--for=condition=Ready", "pod/alone", "--timeout=60s")
		p.Kill("node")
		old := p.Kubectl("get", "node", p.Node, "-o", "jsonpath={.metadata.uid}")
		p.Kubectl("delete", "node", p.Node)
		p.Kubectl("delete", "pod", "alone", "--grace-period=0", "--force")
		p.StartPart("node")
		p.Eventually("the node is Ready again", func() string {
			out, err := p.TryKubectl("", "get", "node", p.Node, "-o", `jsonpath={.metadata.uid} {.status.conditions[?(@.type=="Ready")].status}`)
			if err != nil || strings.HasPrefix(out, old) || !strings.HasSuffix(out, " True") {
				return out
			}
			return ""
		})
		p.Eventually("the pod is gone", func() string { return strings.Join(p.Containers("label=karve.dev/pod-name=alone"), " ") })
		p.Eventually("the set is complete", func() string {
			out, _ := p.TryKubectl("", "rollout", "status", "statefulset/db", "--timeout=1s")
			if !strings.Contains(out, "roll out complete") && !strings.Contains(out, "rolling update complete") {
				return out
			}
			return ""
		})
		onlyOne(t, p, uid())
	})
}

// onlyOne waits until the pod of that UID runs, and no other of its name has anything left; at no time may two run.
func onlyOne(t *testing.T, p *cluster.Processes, uid string) {
	p.Eventually("the new pod runs alone", func() string {
		running := p.Docker("ps", "--filter", "label=karve.dev/cluster="+p.Name, "--filter", "label=karve.dev/pod-name=db-0",
			"--filter", "label=karve.dev/container=app", "--format", `{{.Label "karve.dev/pod-uid"}}`)
		require.LessOrEqual(t, len(strings.Fields(running)), 1, "two run at once: %s", running)
		if running != uid {
			return "what runs: " + running
		}
		return ""
	})
}
