package durability_test

import (
	"context"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"karve.dev/karve/integration/cluster"
	"karve.dev/karve/integration/durability"
)

const (
	kills   = 50
	writers = 8
)

// TestKilledAmidWrites kills the cluster fifty times while many clients write. Every write that was acknowledged is
// there, the whole history could have come from a single copy of the data, and whoever watched through all of it, each
// time from where it was, missed nothing and saw nothing twice.
func TestKilledAmidWrites(t *testing.T) {
	c := cluster.Start(t)
	client := connect(t, c)
	list, err := client.CoreV1().ConfigMaps(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	from, err := strconv.ParseInt(list.ResourceVersion, 10, 64)
	require.NoError(t, err)
	witnesses := []*durability.Witness{durability.NewWitness(client, from), durability.NewWitness(client, from)}
	watching, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for _, w := range witnesses {
		wg.Go(func() {
			if err := w.Run(watching); err != nil {
				t.Errorf("a watch could not go on: %v", err)
			}
		})
	}

	storm := durability.NewStorm(client)
	for range kills {
		round, cancel := context.WithCancel(t.Context())
		var writing sync.WaitGroup
		writing.Go(func() { storm.Run(round, writers) })
		killAfter(t, c, time.Duration(50+rand.IntN(250))*time.Millisecond)
		cancel()
		writing.Wait()
		c.Up()
		storm.Restarted()
	}

	end, err := client.CoreV1().ConfigMaps(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	newest, err := strconv.ParseInt(end.Items[0].ResourceVersion, 10, 64)
	require.NoError(t, err)
	for _, item := range end.Items {
		revision, err := strconv.ParseInt(item.ResourceVersion, 10, 64)
		require.NoError(t, err)
		newest = max(newest, revision)
	}
	for _, w := range witnesses {
		require.Eventually(t, func() bool { return w.Seen() >= newest }, 10*time.Second, 10*time.Millisecond)
	}
	stop()
	wg.Wait()
	operations := storm.Operations()
	t.Logf("%d operations, %d acknowledged writes", len(operations), len(storm.Acknowledged()))
	require.Greater(t, len(storm.Acknowledged()), 20*kills)
	for _, w := range witnesses {
		require.NoError(t, w.Check(storm.Acknowledged()))
	}
	result := porcupine.CheckOperationsTimeout(durability.Model(), operations, time.Minute)
	require.Equal(t, porcupine.Ok, result, "the history is not linearizable")
}

func connect(t *testing.T, c *cluster.Cluster) *kubernetes.Clientset {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	require.NoError(t, err)
	config.QPS = -1
	config.Timeout = 0
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return client
}

// killAfter kills the cluster's process at a moment that has nothing to do with what it does.
func killAfter(t *testing.T, c *cluster.Cluster, wait time.Duration) {
	pid := c.PID()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	<-timer.C
	require.NoError(t, exec.Command("kill", "-KILL", pid).Run())
}
