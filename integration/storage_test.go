package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

const database = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        image: my-app
        command: [sh, -c, 'echo "$(hostname) began" >> /data/log; exec sleep 1000000']
        securityContext: {runAsUser: 1000}
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`

// TestDataOutlivesPods keeps a database's data through everything but the deletion of its claims.
func TestDataOutlivesPods(t *testing.T) {
	c := cluster.Start(t, "--nodes", "2")
	c.Apply(database)
	ready := func() { c.Kubectl("rollout", "status", "statefulset/db", "--timeout=60s") }
	lines := func(pod string) int {
		return strings.Count(c.Kubectl("exec", pod, "--", "cat", "/data/log"), pod+" began\n")
	}
	ready()
	require.Regexp(t, `(?m)^data-db-0\s+Bound\s+pvc-\S+\s+1Gi\s+RWO\s+standard`, c.Kubectl("get", "pvc"))
	folders := volumeFolders(t, c)
	require.Len(t, folders, 2)

	t.Run("a pod is deleted", func(t *testing.T) {
		node := c.Kubectl("get", "pod", "db-0", "-o", "jsonpath={.spec.nodeName}")
		c.Kubectl("delete", "pod", "db-0")
		ready()
		require.Equal(t, 2, lines("db-0"))
		require.Equal(t, node, c.Kubectl("get", "pod", "db-0", "-o", "jsonpath={.spec.nodeName}"), "where its data is")
	})
	t.Run("the cluster is killed", func(t *testing.T) {
		c.Kill()
		c.Up()
		c.Kubectl("delete", "pod", "db-0", "db-1")
		ready()
		require.Equal(t, 3, lines("db-0"))
		require.Equal(t, 2, lines("db-1"))
	})
	t.Run("a claim that is in use is not deleted before its pod", func(t *testing.T) {
		c.Kubectl("delete", "pvc", "data-db-1", "--wait=false")
		require.Regexp(t, `(?m)^data-db-1\s+Terminating`, c.Kubectl("get", "pvc"))
		require.Contains(t, c.Kubectl("describe", "pvc", "data-db-1"), "Used By:       db-1")
		c.Kubectl("scale", "statefulset/db", "--replicas=1")
		c.Kubectl("wait", "pvc/data-db-1", "--for=delete", "--timeout=60s")
	})
	t.Run("the set is deleted: its data stays, until the claims go", func(t *testing.T) {
		c.Kubectl("delete", "statefulset", "db")
		c.Kubectl("wait", "pod/db-0", "--for=delete", "--timeout=60s")
		require.Regexp(t, `(?m)^data-db-0\s+Bound`, c.Kubectl("get", "pvc"))
		c.Kubectl("delete", "pvc", "data-db-0")
		c.Eventually("volumes and folders are gone", func() string {
			return strings.TrimPrefix(c.Kubectl("get", "pv"), "No resources found\n") + strings.Join(volumeFolders(t, c), " ")
		})
	})
	t.Run("or by the policy that they go with it", func(t *testing.T) {
		c.Apply(strings.Replace(database, "spec:", "spec:\n  persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Delete}", 1))
		ready()
		c.Kubectl("scale", "statefulset/db", "--replicas=1")
		c.Kubectl("wait", "pvc/data-db-1", "--for=delete", "--timeout=60s")
		require.Regexp(t, `(?m)^data-db-0\s+Bound`, c.Kubectl("get", "pvc"))
		c.Kubectl("delete", "statefulset", "db")
		c.Eventually("volumes and folders are gone", func() string {
			return strings.TrimPrefix(c.Kubectl("get", "pv"), "No resources found\n") + strings.Join(volumeFolders(t, c), " ")
		})
	})
}

// volumeFolders are the folders of volumes on all of the cluster's nodes.
func volumeFolders(t *testing.T, c *cluster.Cluster) []string {
	found, err := filepath.Glob(filepath.Join(c.DataDir, "nodes", "*", "volumes", "*"))
	require.NoError(t, err)
	return found
}

const hostile = `
apiVersion: v1
kind: Pod
metadata: {name: hostile}
spec:
  restartPolicy: Never
  initContainers:
  - {name: link, image: my-app, command: [busybox, ln, -s, /etc, /data/sub], volumeMounts: [{name: v, mountPath: /data}]}
  containers:
  - {name: app, image: my-app, command: [cat, /sub/shadow], volumeMounts: [{name: v, mountPath: /sub, subPath: sub}]}
  volumes: [{name: v, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: missing}
spec:
  containers: [{name: app, image: my-app}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: nothing}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: lonely}
spec: {storageClassName: "", accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: unbound}
spec:
  containers: [{name: app, image: my-app}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: lonely}}]
`

const kinds = `
apiVersion: v1
kind: PersistentVolume
metadata: {name: byhand}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteMany]
  hostPath: {path: HOSTPATH}
  claimRef: {namespace: default, name: byhand}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: byhand}
spec: {storageClassName: "", accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: kinds}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: my-app
    command: [sleep, "1000000"]
    env: [{name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    volumeMounts:
    - {name: byhand, mountPath: /byhand}
    - {name: byhand, mountPath: /mine, subPathExpr: $(WHO)/mine}
    - {name: image, mountPath: /image}
    - {name: scratch, mountPath: /scratch}
    - {name: byhand, mountPath: /locked, readOnly: true, recursiveReadOnly: Enabled}
  volumes:
  - {name: byhand, persistentVolumeClaim: {claimName: byhand}}
  - {name: image, image: {reference: my-app}}
  - name: scratch
    ephemeral:
      volumeClaimTemplate:
        spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
`

// TestVolumes mounts volumes of many kinds, and says why where it cannot.
func TestVolumes(t *testing.T) {
	c := cluster.Start(t)
	c.Apply(hostile)
	folder := t.TempDir()
	c.Apply(strings.Replace(kinds, "HOSTPATH", folder, 1))

	t.Run("a missing claim", func(t *testing.T) {
		const why = `0/1 nodes are available: persistentvolumeclaim "nothing" not found.`
		c.Eventually("the pod says so", func() string { return lacks(c.Kubectl("describe", "pod", "missing"), "FailedScheduling", why) })
		out, err := c.Karve("why", "missing")
		require.NoError(t, err)
		require.Contains(t, out, why)
		require.Contains(t, out, "fits once the claim exists")
	})
	t.Run("a claim without a volume", func(t *testing.T) {
		c.Eventually("the pod says so", func() string {
			return lacks(c.Kubectl("describe", "pod", "unbound"), "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.")
		})
		require.Contains(t, c.Kubectl("describe", "pvc", "lonely"), "no persistent volumes available for this claim and no storage class is set")
	})
	t.Run("a subPath that leads out of its volume", func(t *testing.T) {
		c.Eventually("it is refused", func() string {
			return lacks(c.Kubectl("describe", "pod", "hostile"), "CreateContainerConfigError", "it leads out of the volume")
		})
		require.NotContains(t, c.Kubectl("get", "pod", "hostile", "-o", "yaml"), "root:")
	})
	t.Run("many kinds", func(t *testing.T) {
		c.Kubectl("wait", "pod/kinds", "--for=condition=Ready", "--timeout=60s")
		in := func(script string) string { return c.Kubectl("exec", "kinds", "--", "sh", "-c", script) }
		in("echo yes > /byhand/file; echo mine > /mine/file; echo tmp > /scratch/file")
		raw, err := os.ReadFile(filepath.Join(folder, "kinds", "mine", "file"))
		require.NoError(t, err)
		require.Equal(t, "mine\n", string(raw))
		require.Contains(t, in("ls /image"), "bin")
		require.Contains(t, in("cd /; for d in image locked; do busybox touch $d/x 2>&1; done; cat /locked/file"), "touch: image/x: Read-only file system\ntouch: locked/x: Read-only file system\nyes\n")
		require.Regexp(t, `(?m)^kinds-scratch\s+Bound`, c.Kubectl("get", "pvc"))
	})
	t.Run("and cleans up", func(t *testing.T) {
		c.Kubectl("delete", "pod", "--all")
		c.Eventually("the ephemeral claim and all mounts are gone", func() string {
			mounts, err := os.ReadFile("/proc/self/mountinfo")
			require.NoError(t, err)
			out, left := c.Kubectl("get", "pvc"), ""
			if strings.Contains(string(mounts), c.DataDir+"/nodes") {
				left = "still mounted\n"
			}
			if strings.Contains(out, "kinds-scratch") {
				left += out
			}
			return left
		})
		require.FileExists(t, filepath.Join(folder, "file"))
		c.Kubectl("delete", "pvc", "byhand")
		c.Eventually("the volume is released", func() string { return lacks(c.Kubectl("get", "pv", "byhand"), "Released") })
	})
}

// lacks returns text unless all words are in it.
func lacks(text string, words ...string) string {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return "no " + w + " in\n" + text
		}
	}
	return ""
}

// TestNothingStaysMountedAfterACrash deletes a pod while its node's agent is dead.
func TestNothingStaysMountedAfterACrash(t *testing.T) {
	p := cluster.StartProcesses(t)
	p.Apply(strings.Replace(database, "replicas: 2", "replicas: 1", 1))
	p.Apply(`
apiVersion: v1
kind: Pod
metadata: {name: mounts}
spec:
  containers: [{name: app, image: my-app, command: [sleep, "1000000"], volumeMounts: [{name: m, mountPath: /m, subPath: x}]}]
  volumes: [{name: m, emptyDir: {medium: Memory}}]
`)
	p.Kubectl("wait", "pod/mounts", "pod/db-0", "--for=condition=Ready", "--timeout=60s")
	uid := p.Kubectl("get", "pod", "mounts", "-o", "jsonpath={.metadata.uid}")
	claimed := p.Kubectl("get", "pod", "db-0", "-o", "jsonpath={.metadata.uid}")
	p.Kill("node")
	p.Kubectl("delete", "pod", "mounts", "db-0", "--force", "--grace-period=0")
	p.StartPart("node")
	p.Eventually("everything of the pods is gone", func() string {
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		require.NoError(t, err)
		var left []string
		for _, id := range []string{uid, claimed} {
			found, err := filepath.Glob(filepath.Join(p.DataDir, "nodes", "*", "pods", id))
			require.NoError(t, err)
			if strings.Contains(string(mounts), id) {
				found = append(found, "mounts")
			}
			left = append(left, found...)
		}
		return strings.Join(left, " ")
	})
	p.Kubectl("wait", "pod/db-0", "--for=condition=Ready", "--timeout=60s")
	require.Equal(t, 2, strings.Count(p.Kubectl("exec", "db-0", "--", "cat", "/data/log"), "db-0 began\n"), "but for what was claimed")
}
