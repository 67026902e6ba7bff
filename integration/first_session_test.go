// Package integration holds the tests of whole clusters: real binaries, real Docker, a stock kubectl. One file a
// behaviour that users see.
package integration

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

// TestFirstSession is what the README shows, with a stock kubectl, from the first command to the last.
func TestFirstSession(t *testing.T) {
	c := cluster.Start(t)
	manifest := filepath.Join(cluster.Root(t), "examples", "my-app.yaml")

	require.Regexp(t, `(?m)^\S+\s+Ready\s`, c.Kubectl("get", "nodes"))
	require.Equal(t, "deployment.apps/my-app created\nservice/my-service created\n", c.Kubectl("apply", "-f", manifest))
	require.Contains(t, c.Kubectl("rollout", "status", "deployment/my-app", "--timeout=60s"), "successfully rolled out")
	require.Equal(t, "deployment.apps/my-app unchanged\nservice/my-service unchanged\n", c.Kubectl("apply", "-f", manifest))

	wide := c.Kubectl("get", "pods", "-o", "wide")
	require.Len(t, regexp.MustCompile(`(?m)^my-app-\S+\s+1/1\s+Running\s+0\s+\S+\s+10\.\d+\.\d+\.\d+\s`).FindAllString(wide, -1), 3, wide)
	pods := podNames(c, "app=my-app")

	t.Run("describe", func(t *testing.T) {
		out := c.Kubectl("describe", "pod", pods[0])
		for _, want := range []string{"Status:           Running", "Controlled By:  ReplicaSet/my-app-", "Image:          my-app:latest", "Successfully assigned default/" + pods[0], "Container started"} {
			require.Contains(t, out, want)
		}
		out = c.Kubectl("describe", "deployment", "my-app")
		for _, want := range []string{"3 desired | 3 updated | 3 total | 3 available | 0 unavailable", "MinimumReplicasAvailable", "NewReplicaSetAvailable", "Scaled up replica set my-app-"} {
			require.Contains(t, out, want)
		}
		require.Contains(t, c.Kubectl("describe", "node"), "Allocated resources")
		require.Regexp(t, `Endpoints:\s+10\.`, c.Kubectl("describe", "service", "my-service"))
	})
	t.Run("logs", func(t *testing.T) {
		require.Contains(t, c.Kubectl("logs", pods[0]), "my-app version 1 listens on :8080")
	})
	t.Run("exec", func(t *testing.T) {
		require.Equal(t, pods[0]+"\n", c.Kubectl("exec", pods[0], "--", "hostname"))
		out, err := c.TryKubectl("echo from $(hostname); exit 7\n", "exec", "-i", pods[0], "--", "sh")
		require.Contains(t, out, "from "+pods[0])
		require.ErrorContains(t, err, "exit status 7")
	})
	t.Run("exec with a terminal", func(t *testing.T) {
		kubectl := strings.Join(append(cluster.Stock(t), "exec", "-it", pods[0], "--", "sh"), " ")
		out, err := c.Terminal(kubectl, "tty; exit 3\n")
		require.Contains(t, out, "/dev/pts/")
		require.ErrorContains(t, err, "exit status 3")
	})
	t.Run("everything in one table", func(t *testing.T) {
		out := c.Kubectl("get", "deploy,rs,pods,svc,events", "-A")
		for _, want := range []string{"deployment.apps/my-app", "replicaset.apps/my-app-", "pod/my-app-", "service/my-service", "service/kubernetes", "ScalingReplicaSet"} {
			require.Contains(t, out, want)
		}
	})
	t.Run("the Service takes turns", func(t *testing.T) { serviceTakesTurns(t, c, pods) })
	t.Run("follow logs", func(t *testing.T) { followLogs(t, c, pods[0]) })
	t.Run("scale", func(t *testing.T) {
		require.Equal(t, "deployment.apps/my-app scaled\n", c.Kubectl("scale", "deployment/my-app", "--replicas=5"))
		c.Kubectl("rollout", "status", "deployment/my-app", "--timeout=60s")
		require.Len(t, podNames(c, "app=my-app"), 5)
	})
	t.Run("roll and undo", func(t *testing.T) { rollAndUndo(t, c) })
	t.Run("delete", func(t *testing.T) {
		require.Contains(t, c.Kubectl("delete", "-f", manifest), `deployment.apps "my-app" deleted`)
		c.Eventually("the pods are gone", func() string { return strings.TrimSpace(strings.Join(podNames(c, "app=my-app"), " ")) })
		c.Eventually("the containers are gone", func() string { return strings.Join(c.Containers("label=karve.dev/pod-namespace=default"), " ") })
	})
}

func podNames(c *cluster.Cluster, selector string) []string {
	return strings.Fields(c.Kubectl("get", "pods", "-l", selector, "-o", "jsonpath={.items[*].metadata.name}"))
}

// serviceTakesTurns asks the cluster IP from the host and from inside a pod: every pod answers, in even turns.
func serviceTakesTurns(t *testing.T, c *cluster.Cluster, pods []string) {
	ip := c.Kubectl("get", "service", "my-service", "-o", "jsonpath={.spec.clusterIP}")
	const each = 4
	count := func(answers []string) map[string]int {
		counts := map[string]int{}
		for _, a := range answers {
			if m := regexp.MustCompile(`hello from (\S+),`).FindStringSubmatch(a); m != nil {
				counts[m[1]]++
			}
		}
		return counts
	}
	want := map[string]int{}
	for _, p := range pods {
		want[p] = each
	}
	c.Eventually("the Service answers", func() string {
		_, err := get("http://" + ip)
		if err != nil {
			return err.Error()
		}
		return ""
	})
	var answers []string
	for range each * len(pods) {
		body, err := get("http://" + ip)
		require.NoError(t, err)
		answers = append(answers, body)
	}
	require.Equal(t, want, count(answers), "from the host")
	loop := fmt.Sprintf("for i in $(seq %d); do wget -qO- http://%s; done", each*len(pods), ip)
	loop = strings.Replace(loop, "$(seq "+fmt.Sprint(each*len(pods))+")", numbers(each*len(pods)), 1)
	require.Equal(t, want, count(strings.Split(c.Kubectl("exec", pods[0], "--", "sh", "-c", loop), "\n")), "from a pod")
}

func numbers(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprint(i))
	}
	return strings.Join(out, " ")
}

// get asks a URL over a connection of its own.
func get(url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

// followLogs sees a line that is written after kubectl logs -f began.
func followLogs(t *testing.T, c *cluster.Cluster, pod string) {
	ip := c.Kubectl("get", "pod", pod, "-o", "jsonpath={.status.podIP}")
	done := make(chan string, 1)
	go func() {
		out, _ := c.TryKubectl("", "logs", "-f", pod, "--since=1s", "--request-timeout=8s")
		done <- out
	}()
	for i := 0; ; i++ {
		_, err := get(fmt.Sprintf("http://%s:8080/follow-%d", ip, i))
		require.NoError(t, err)
		select {
		case out := <-done:
			require.Contains(t, out, "/follow-3")
			return
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// rollAndUndo watches a rolling update from outside: it never has fewer pods available than allowed.
func rollAndUndo(t *testing.T, c *cluster.Cluster) {
	c.Kubectl("set", "image", "deployment/my-app", "app=my-app:v2")
	var lowest []int
	c.Eventually("the update is rolled out", func() string {
		out := c.Kubectl("get", "deployment", "my-app", "-o", "jsonpath={.status.availableReplicas} {.status.updatedReplicas} {.status.replicas} {.status.unavailableReplicas}")
		var available, updated, total, unavailable int
		_, _ = fmt.Sscan(out, &available, &updated, &total, &unavailable)
		lowest = append(lowest, available)
		if updated == 5 && total == 5 && available == 5 {
			return ""
		}
		return out
	})
	require.GreaterOrEqual(t, slices.Min(lowest), 4, "5 replicas with maxUnavailable 25 %% leave 4 available: %v", lowest)
	require.Contains(t, askOnePod(c), "version 2")
	require.Regexp(t, `(?s)REVISION.*\n1 .*\n2 `, c.Kubectl("rollout", "history", "deployment/my-app"))
	require.Equal(t, "deployment.apps/my-app rolled back\n", c.Kubectl("rollout", "undo", "deployment/my-app"))
	c.Kubectl("rollout", "status", "deployment/my-app", "--timeout=60s")
	require.Contains(t, askOnePod(c), "version 1")
}

// askOnePod asks a pod of the Deployment inside, once those of before have gone.
func askOnePod(c *cluster.Cluster) string {
	c.Eventually("the old pods are gone", func() string {
		if pods := podNames(c, "app=my-app"); len(pods) != 5 {
			return strings.Join(pods, " ")
		}
		return ""
	})
	return c.Kubectl("exec", podNames(c, "app=my-app")[0], "--", "wget", "-qO-", "localhost:8080")
}

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the whole-cluster tests need root: sudo make integration")
		os.Exit(1)
	}
	os.Exit(m.Run())
}
