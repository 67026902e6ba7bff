package integration

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

// TestRolloutLosesNoRequest asks a Service without a pause, each time over a new connection, while its pods are replaced
// twice. A pod is told to stop only when no connection can come to it any more, so nobody is ever refused.
func TestRolloutLosesNoRequest(t *testing.T) {
	c := cluster.Start(t)
	c.Kubectl("apply", "-f", filepath.Join(cluster.Root(t), "examples", "my-app.yaml"))
	// Without a probe a pod counts as ready as soon as its program runs, a moment before that listens.
	c.Kubectl("patch", "deployment", "my-app", "--patch",
		`{"spec":{"template":{"spec":{"containers":[{"name":"app","readinessProbe":{"httpGet":{"path":"/","port":8080},"periodSeconds":1}}]}}}}`)
	c.Kubectl("rollout", "status", "deployment/my-app", "--timeout=60s")
	address := "http://" + c.Kubectl("get", "service", "my-service", "-o", "jsonpath={.spec.clusterIP}")

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var asked atomic.Int64
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for ctx.Err() == nil {
				if err := ask(ctx, address); err != nil && ctx.Err() == nil {
					t.Errorf("request %d: %v", asked.Load(), err)
					return
				}
				asked.Add(1)
			}
		})
	}
	for _, image := range []string{"my-app:v2", "my-app:latest"} {
		c.Kubectl("set", "image", "deployment/my-app", "app="+image)
		c.Kubectl("rollout", "status", "deployment/my-app", "--timeout=60s")
	}
	c.Eventually("the old pods are gone", func() string {
		if pods := podNames(c, "app=my-app"); len(pods) != 3 {
			return "pods: " + time.Now().String()
		}
		return ""
	})
	stop()
	asking.Wait()
	require.Greater(t, asked.Load(), int64(100))
	t.Logf("%d requests", asked.Load())
}

func ask(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}
