package integration

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

// TestSelfHealing breaks things in the ways that the introductions to Kubernetes do, and one more.
func TestSelfHealing(t *testing.T) {
	c := cluster.Start(t)
	c.Kubectl("apply", "-f", filepath.Join(cluster.Root(t), "examples", "my-app.yaml"))
	c.Kubectl("rollout", "status", "deployment/my-app", "--timeout=60s")

	t.Run("docker kill: the container is restarted", func(t *testing.T) {
		pod := podNames(c, "app=my-app")[0]
		c.Docker("kill", container(c, pod, "app"))
		c.Eventually("RESTARTS is 1", func() string { return runningWithRestarts(c, pod, "1") })
	})
	t.Run("docker rm -f of all its containers: the pod is back", func(t *testing.T) {
		pod := podNames(c, "app=my-app")[1]
		uid := c.Kubectl("get", "pod", pod, "-o", "jsonpath={.metadata.uid}")
		ids := c.Containers("label=karve.dev/pod-uid=" + uid)
		require.NotEmpty(t, ids)
		c.Docker(append([]string{"rm", "-f"}, ids...)...)
		c.Eventually("the pod runs again", func() string {
			now := c.Containers("label=karve.dev/pod-uid=" + uid)
			if len(now) == 0 || slices.ContainsFunc(now, func(id string) bool { return slices.Contains(ids, id) }) {
				return "no new containers"
			}
			return notReady(c, pod)
		})
		require.Equal(t, uid, c.Kubectl("get", "pod", pod, "-o", "jsonpath={.metadata.uid}"))
	})
	t.Run("kubectl delete pod: there is a new one", func(t *testing.T) {
		before := podNames(c, "app=my-app")
		c.Kubectl("delete", "pod", before[0])
		c.Kubectl("rollout", "status", "deployment/my-app", "--timeout=60s")
		after := podNames(c, "app=my-app")
		require.Len(t, after, 3)
		require.NotContains(t, after, before[0])
	})
	t.Run("SIGKILL of the cluster: nothing is lost and no container restarts", func(t *testing.T) {
		pods, containers := podNames(c, "app=my-app"), c.Containers()
		started := c.Docker(append([]string{"inspect", "--format", "{{.Id}} {{.State.StartedAt}}"}, containers...)...)
		c.Kill()
		c.Up()
		c.Kubectl("rollout", "status", "deployment/my-app", "--timeout=60s")
		require.Equal(t, pods, podNames(c, "app=my-app"))
		c.Eventually("every pod is Ready", func() string {
			for _, p := range pods {
				if why := notReady(c, p); why != "" {
					return why
				}
			}
			return ""
		})
		require.Equal(t, started, c.Docker(append([]string{"inspect", "--format", "{{.Id}} {{.State.StartedAt}}"}, containers...)...))
	})
}

// container returns the ID of a pod's container.
func container(c *cluster.Cluster, pod, name string) string {
	id := c.Kubectl("get", "pod", pod, "-o", `jsonpath={.status.containerStatuses[?(@.name=="`+name+`")].containerID}`)
	return strings.TrimPrefix(id, "docker://")
}

func runningWithRestarts(c *cluster.Cluster, pod, restarts string) string {
	out := c.Kubectl("get", "pod", pod, "--no-headers")
	fields := strings.Fields(out)
	if len(fields) > 3 && fields[1] == "1/1" && fields[2] == "Running" && fields[3] == restarts {
		return ""
	}
	return out
}

func notReady(c *cluster.Cluster, pod string) string {
	out := c.Kubectl("get", "pod", pod, "--no-headers")
	if f := strings.Fields(out); len(f) > 2 && f[1] == "1/1" && f[2] == "Running" {
		return ""
	}
	return out
}
