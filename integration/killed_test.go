package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
	"karve.dev/karve/internal/chance"
)

const killedPod = `---
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: killed}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: my-app:latest
    imagePullPolicy: IfNotPresent
    volumeMounts: [{name: memory, mountPath: /memory}]
  volumes: [{name: memory, emptyDir: {medium: Memory}}]
`

// TestTheDaemonIsKilled kills the daemon, which is the API, the controllers and the node in one, at random points while
// 200 pods are created and deleted. In the end what runs is exactly what the API says.
func TestTheDaemonIsKilled(t *testing.T) {
	c := cluster.Start(t)
	chances := chance.New(t)
	order := chance.Another(chances)
	var left []string
	done := make(chan struct{})
	var busy sync.WaitGroup
	busy.Go(func() {
		defer close(done)
		left = createAndDelete(c, order, 10, 20, 10)
	})
	kills := 0
	for going := true; going; {
		select {
		case <-done:
			going = false
		case <-time.After(2*time.Second + time.Duration(chances.Int64N(int64(4*time.Second)))):
			c.Kill()
			c.Up()
			kills++
		}
	}
	busy.Wait()
	require.NotEmpty(t, left)
	t.Logf("%d kills", kills)
	c.Eventually("what runs is what the API says", func() string { return difference(c, left) })
	for _, pod := range left {
		ip := c.Kubectl("get", "pod", pod, "-o", "jsonpath={.status.podIP}")
		c.Eventually(pod+" answers", func() string {
			out, err := c.Terminal("curl -s -m 2 http://"+ip+":8080/", "")
			if err != nil || !strings.Contains(out, "hello from "+pod+",") {
				return out
			}
			return ""
		})
	}
}

// createAndDelete creates pods in rounds and deletes all but a few in each, with grace or by force. A call that the daemon's
// end cuts off is made again. It returns the names of the pods that are left.
func createAndDelete(c *cluster.Cluster, chances *rand.Rand, rounds, each, few int) (left []string) {
	insist := func(stdin string, args ...string) {
		for deadline := time.Now().Add(cluster.Wait); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
			if _, err := c.TryKubectl(stdin, args...); err == nil {
				return
			}
		}
		panic("kubectl " + strings.Join(args, " ") + " does not succeed")
	}
	for round := range rounds {
		var manifest strings.Builder
		for i := range each {
			name := fmt.Sprintf("p%d-%d", round, i)
			fmt.Fprintf(&manifest, killedPod, name)
			left = append(left, name)
		}
		insist(manifest.String(), "apply", "--validate=false", "-f", "-")
		chances.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
		args := append([]string{"delete", "pod", "--ignore-not-found", "--wait=false"}, left[few:]...)
		if chances.IntN(3) == 0 {
			args = append(args, "--grace-period=0", "--force")
		}
		insist("", args...)
		left = left[:few]
	}
	return left
}

// difference tells how what the machine has differs from what the API says: pods, containers, addresses, interfaces,
// folders and mounts.
func difference(c *cluster.Cluster, pods []string) string {
	said := map[string]string{}
	for line := range strings.Lines(c.Kubectl("get", "pods", "-o", `jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.status.podIP} {.status.phase}{"\n"}{end}`)) {
		f := strings.Fields(line)
		if len(f) != 4 || f[3] != "Running" || !slices.Contains(pods, f[0]) {
			return "the API has " + line
		}
		said[f[0]+" "+f[1]] = f[2]
	}
	if len(said) != len(pods) {
		return fmt.Sprintf("the API has %d pods", len(said))
	}
	sandboxes, apps := map[string]string{}, map[string]bool{}
	for line := range strings.Lines(c.Docker("ps", "--all", "--filter", "label=karve.dev/cluster="+c.Name,
		"--format", `{{.Label "karve.dev/pod-name"}} {{.Label "karve.dev/pod-uid"}} {{.Label "karve.dev/container"}} {{.State}} {{.Label "karve.dev/address"}}`)) {
		f := strings.Fields(line)
		pod := f[0] + " " + f[1]
		switch {
		case said[pod] == "" || f[3] != "running" || f[2] == "POD" && sandboxes[pod] != "" || f[2] != "POD" && apps[pod]:
			return "one too many: " + line
		case f[2] == "POD" && f[4] != said[pod]:
			return "the API says " + said[pod] + " of " + line
		case f[2] == "POD":
			sandboxes[pod] = f[4]
		default:
			apps[pod] = true
		}
	}
	folders, _ := filepath.Glob(filepath.Join(c.DataDir, "nodes", "*", "pods", "*"))
	mounts, _ := os.ReadFile("/proc/self/mounts")
	// Each has a volume in memory and its token.
	n := strings.Count(string(mounts), " "+filepath.Join(c.DataDir, "nodes"))
	if len(sandboxes) != len(pods) || len(apps) != len(pods) || len(folders) != len(pods) || n != 2*len(pods) {
		return fmt.Sprintf("%d pods have %d sandboxes, %d containers, %d folders and %d mounts", len(pods), len(sandboxes), len(apps), len(folders), n)
	}
	return ""
}
