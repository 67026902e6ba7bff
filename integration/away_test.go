package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

const needyPods = `apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: hunter2}
---
apiVersion: v1
kind: Pod
metadata: {name: crashes}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: my-app:latest
    imagePullPolicy: IfNotPresent
    env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: login, key: password}}}]
    volumeMounts: [{name: login, mountPath: /login}]
  volumes: [{name: login, secret: {secretName: login}}]
---
apiVersion: v1
kind: Pod
metadata: {name: ails}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: my-app:latest
    imagePullPolicy: IfNotPresent
    livenessProbe: {tcpSocket: {port: 81}, periodSeconds: 4, failureThreshold: 5}
---
apiVersion: v1
kind: Pod
metadata: {name: goes}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: "my-app:latest", imagePullPolicy: IfNotPresent}]
`

const staticPod = `apiVersion: v1
kind: Pod
metadata: {name: static}
spec:
  containers: [{name: app, image: "my-app:latest", imagePullPolicy: IfNotPresent}]
`

// TestNodeWithoutItsAPI kills the API and the node's agent, and starts the agent again. It goes on by what it was told
// last; when the API is back, kubectl shows what has happened.
func TestNodeWithoutItsAPI(t *testing.T) {
	p := cluster.StartProcesses(t)
	manifests := filepath.Join(p.NodeDir(), "manifests")
	require.NoError(t, os.MkdirAll(manifests, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(manifests, "static.yaml"), []byte(staticPod), 0o600))
	p.Eventually("pods can be made", func() string {
		out, err := p.TryKubectl(needyPods, "apply", "-f", "-")
		if err != nil {
			return out
		}
		return ""
	})
	p.Kubectl("wait", "--for=condition=Ready", "pod/crashes", "pod/goes", "pod/ails", "--timeout=60s")
	before := p.Kubectl("get", "pods", "-o", "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.status.podIP}{\"\\n\"}{end}")
	p.Eventually("the static pod runs", func() string { return runsOnly(p.Cluster, "static-"+p.Node, "app 0") })

	p.Kill("node")
	p.Kubectl("delete", "pod", "goes", "--wait=false")
	p.Kill("api")
	killContainer(p.Cluster, "crashes")
	p.StartPart("node")
	p.Eventually("what crashed before the agent began is restarted", func() string { return runsOnly(p.Cluster, "crashes", "app 1") })
	killContainer(p.Cluster, "static-"+p.Node)
	p.Eventually("so is a static pod", func() string { return runsOnly(p.Cluster, "static-"+p.Node, "app 1") })
	killContainer(p.Cluster, "crashes")
	p.Eventually("and what crashes again, after a while", func() string { return runsOnly(p.Cluster, "crashes", "app 2") })
	p.Eventually("and what fails its probe", func() string {
		if all := attempts(p.Cluster, "ails"); len(all) != 1 || all[0] == "app 0" {
			return strings.Join(all, ", ")
		}
		return ""
	})
	require.Equal(t, []string{"app 0"}, attempts(p.Cluster, "goes"), "nobody has told the node")

	p.StartPart("api")
	p.Eventually("RESTARTS is 2", func() string {
		out, err := p.TryKubectl("", "get", "pod", "crashes", "--no-headers")
		if fields := strings.Fields(out); err != nil || len(fields) < 4 || fields[1] != "1/1" || fields[3] != "2" {
			return out
		}
		return ""
	})
	p.Eventually("what was deleted is gone", func() string {
		return strings.Join(p.Containers("label=karve.dev/pod-name=goes"), " ")
	})
	p.KubectlFails("", "get", "pod", "goes")
	after := p.Kubectl("get", "pods", "-o", "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.status.podIP}{\"\\n\"}{end}")
	for line := range strings.Lines(before) {
		if !strings.HasPrefix(line, "goes ") {
			require.Contains(t, after, line, "the same pod with the same address")
		}
	}
	for _, pod := range []string{"crashes", "ails"} {
		p.Eventually(pod+" runs once", func() string {
			if all := attempts(p.Cluster, pod); len(all) > 1 {
				return strings.Join(all, ", ")
			}
			return ""
		})
	}
}

// attempts are the containers of a pod that run, without its sandbox, as the engine has them: "app 0" is the first.
func attempts(c *cluster.Cluster, pod string) (out []string) {
	for line := range strings.Lines(c.Docker("ps", "--filter", "label=karve.dev/cluster="+c.Name, "--filter", "label=karve.dev/pod-name="+pod,
		"--format", `{{.Label "karve.dev/container"}} {{.Label "karve.dev/attempt"}}`)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "POD ") {
			out = append(out, line)
		}
	}
	return out
}

func runsOnly(c *cluster.Cluster, pod, attempt string) string {
	if all := attempts(c, pod); len(all) != 1 || all[0] != attempt {
		return "what runs: " + strings.Join(all, ", ")
	}
	return ""
}

// killContainer kills what a pod runs, past the node's agent.
func killContainer(c *cluster.Cluster, pod string) {
	c.Docker("kill", c.Containers("label=karve.dev/pod-name="+pod, "label=karve.dev/container=app")[0])
}
