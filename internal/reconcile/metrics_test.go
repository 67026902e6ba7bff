package reconcile

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"karve.dev/karve/internal/informer"
)

func TestQueueMetrics(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	calls := make(chan informer.Key, 10)
	tries := 0
	c := New("metered", 1, func(_ context.Context, key informer.Key) (time.Duration, error) {
		calls <- key
		if tries++; tries == 1 {
			return 0, errors.New("not yet")
		}
		return 0, nil
	}, zap.NewNop())
	c.Enqueue(informer.Key{Name: "a"})
	c.Enqueue(informer.Key{Name: "a"})
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	<-calls
	<-calls
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(Collector{}))
	want := `
# HELP workqueue_adds_total Total number of adds handled by workqueue
# TYPE workqueue_adds_total counter
workqueue_adds_total{name="metered"} 2
# HELP workqueue_retries_total Total number of retries handled by workqueue
# TYPE workqueue_retries_total counter
workqueue_retries_total{name="metered"} 1
`
	require.Eventually(t, func() bool {
		return testutil.GatherAndCompare(registry, strings.NewReader(want), "workqueue_adds_total", "workqueue_retries_total") == nil
	}, 10*time.Second, 5*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	n, err := testutil.GatherAndCount(registry)
	require.NoError(t, err)
	require.Zero(t, n, "a controller that has ended is not shown")
}
