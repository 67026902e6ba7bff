package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

// load asks a pod as fast as it answers, until the test has ended.
func load(t *testing.T, c *cluster.Cluster, pod string) {
	ip := c.Kubectl("get", "pod", pod, "-o", "jsonpath={.status.podIP}")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ip+":8080/healthz", nil)
			if res, err := http.DefaultClient.Do(req); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func runApp(c *cluster.Cluster, name string, flags ...string) {
	c.Kubectl(append([]string{"run", name, "--image=my-app:latest", "--image-pull-policy=IfNotPresent"}, flags...)...)
	c.Kubectl("wait", "--for=condition=Ready", "pod/"+name, "--timeout=60s")
}

// TestFigures looks at a busy pod in all the ways that there are.
func TestFigures(t *testing.T) {
	c := cluster.Start(t)
	runApp(c, "busy", "--labels=app=busy")
	runApp(c, "quiet")

	t.Run("kubectl top", func(t *testing.T) {
		require.Regexp(t, `(?m)^busy +\d+m +[1-9]\d*Mi *$`, c.Kubectl("top", "pod"), "right after the start")
		load(t, c, "busy")
		busy := regexp.MustCompile(`(?m)^busy +busy +(\d+)m +\d+Mi`)
		c.Eventually("it is seen that the pod is busy", func() string {
			out := c.Kubectl("top", "pod", "--containers", "-l", "app=busy")
			m := busy.FindStringSubmatch(out)
			if len(m) == 0 {
				return out
			}
			if n, _ := strconv.Atoi(m[1]); n < 20 {
				return out
			}
			return ""
		})
		require.NotContains(t, c.Kubectl("top", "pod", "-l", "app=busy"), "quiet")
		require.Regexp(t, `(?m)^\S+ +[1-9]\d*m +\d+% +[1-9]\d*Mi +\d+%`, c.Kubectl("top", "node"))
		require.Contains(t, c.Kubectl("get", "pods.metrics.k8s.io"), "busy")
		require.Contains(t, c.KubectlFails("", "top", "pod", "nobody"), "not found")
	})

	t.Run("who may view may look", func(t *testing.T) {
		c.Kubectl("create", "serviceaccount", "viewer")
		c.Kubectl("create", "rolebinding", "viewer", "--clusterrole=view", "--serviceaccount=default:viewer")
		c.Eventually("the role has what is aggregated into it", func() string {
			if out, err := c.TryKubectl("", "auth", "can-i", "list", "pods.metrics.k8s.io", "--as=system:serviceaccount:default:viewer"); err != nil {
				return out
			}
			return ""
		})
		require.Contains(t, c.KubectlFails("", "top", "pod", "-n", "kube-system", "--as=system:serviceaccount:default:viewer"), "forbidden")
	})

	t.Run("a scrape with a token", func(t *testing.T) {
		node := strings.Fields(c.Kubectl("get", "node", "-o", "jsonpath={.items[0].metadata.name} {.items[0].status.addresses[0].address} {.items[0].status.daemonEndpoints.kubeletEndpoint.Port}"))
		c.Kubectl("create", "serviceaccount", "prometheus")
		token := strings.TrimSpace(c.Kubectl("create", "token", "prometheus"))
		code, _ := scrape(t, node[1], node[2], "/metrics/cadvisor", "")
		require.Equal(t, http.StatusUnauthorized, code)
		code, body := scrape(t, node[1], node[2], "/metrics/cadvisor", token)
		require.Equal(t, http.StatusForbidden, code, body)
		c.Kubectl("create", "clusterrole", "scrape", "--verb=get", "--resource=nodes/metrics,nodes/stats,nodes/proxy")
		c.Kubectl("create", "clusterrolebinding", "scrape", "--clusterrole=scrape", "--serviceaccount=default:scraper")
		c.Kubectl("create", "serviceaccount", "scraper")
		token = strings.TrimSpace(c.Kubectl("create", "token", "scraper"))
		for path, want := range map[string]string{
			"/metrics/cadvisor": `(?m)^container_cpu_usage_seconds_total\{container="busy",cpu="total",id="/[^"]+",image="my-app:latest",name="[^"]+",namespace="default",pod="busy"\} [0-9.e-]+$`,
			"/metrics/resource": `(?m)^container_memory_working_set_bytes\{container="quiet",namespace="default",pod="quiet"\} [1-9]`,
			"/metrics":          `(?m)^kubelet_running_pods 2$`,
			"/metrics/probes":   ``,
			"/stats/summary":    `"podRef":\{"name":"busy","namespace":"default"`,
			"/pods":             `"kind":"PodList"`,
			"/healthz":          `^ok$`,
		} {
			code, body := scrape(t, node[1], node[2], path, token)
			require.Equal(t, http.StatusOK, code, path)
			require.Regexp(t, want, body, path)
		}
		code, body = scrape(t, node[1], node[2], "/metrics/cadvisor", token)
		require.Equal(t, http.StatusOK, code)
		for _, name := range []string{
			"container_memory_usage_bytes", "container_memory_working_set_bytes", "container_fs_usage_bytes", "container_network_receive_bytes_total",
			"container_start_time_seconds", "container_spec_memory_limit_bytes", "machine_cpu_cores", "machine_memory_bytes",
		} {
			require.Regexp(t, `(?m)^`+name+`[{ ]`, body)
		}
		require.Contains(t, c.Kubectl("get", "--raw", "/api/v1/nodes/"+node[0]+"/proxy/stats/summary"), `"nodeName":"`+node[0]+`"`)
	})
}

func scrape(t *testing.T, host, port, path, token string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("https://%s:%s%s", host, port, path), nil)
	require.NoError(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	res, err := client.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(body)
}
