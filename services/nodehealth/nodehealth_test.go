package nodehealth

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/conditions"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api/apitest"
)

// TestANodeThatGoesSilentIsTaintedAndComesBack follows one node through its life, with a grace of half a second.
func TestANodeThatGoesSilentIsTaintedAndComesBack(t *testing.T) {
	api := apitest.Start(t)
	admin := api.Client(apitest.Admin)
	recorder := events.New(admin, "node-controller", "", zap.NewNop())
	var s *Service
	var nodes *informer.Informer[*corev1.Node]
	var leases *informer.Informer[*coordinationv1.Lease]
	api.Informers(apitest.Admin, func(set *informer.Set) {
		s = New(Config{Client: admin, Informers: set, Events: recorder, Logger: zap.NewNop(), Beat: 50 * time.Millisecond, Grace: 500 * time.Millisecond})
		nodes, leases = informer.For[*corev1.Node](set), informer.For[*coordinationv1.Lease](set)
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = recorder.Run(ctx) })
	wg.Go(func() { _ = s.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })

	server := transport.NewServer(nil, nil)
	s.Register(server)
	beat := func(ctx context.Context, as, node string) error {
		return sendBeats(ctx, server.Conn(identity.User{Name: as}), node)
	}
	require.ErrorContains(t, beat(t.Context(), "system:node:other", "n1"), "a node speaks for itself only")

	alive, stop := context.WithCancel(t.Context())
	wg.Go(func() { _ = beat(alive, "system:node:n1", "n1") })
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	require.NoError(t, admin.Create(t.Context(), n))
	report(t, admin)
	ready := func(want corev1.ConditionStatus, taints ...string) func() bool {
		return func() bool {
			n, ok := nodes.Get("", "n1")
			if !ok || conditions.Node(n, corev1.NodeReady) == nil || conditions.Node(n, corev1.NodeReady).Status != want || len(n.Spec.Taints) != len(taints) {
				return false
			}
			for i, taint := range n.Spec.Taints {
				if taint.Key+":"+string(taint.Effect) != taints[i] {
					return false
				}
			}
			return true
		}
	}
	require.Eventually(t, ready(corev1.ConditionTrue), 10*time.Second, 5*time.Millisecond, "ready, without the taint that new nodes get")
	require.Eventually(t, func() bool { l, ok := leases.Get(leaseNamespace, "n1"); return ok && l.Spec.RenewTime != nil }, 10*time.Second, 5*time.Millisecond, "a Lease")

	stop()
	unreachable := []string{corev1.TaintNodeUnreachable + ":NoSchedule", corev1.TaintNodeUnreachable + ":NoExecute"}
	require.Eventually(t, ready(corev1.ConditionUnknown, unreachable...), 10*time.Second, 5*time.Millisecond, "silent")

	alive, stop = context.WithCancel(t.Context())
	defer stop()
	wg.Go(func() { _ = beat(alive, "system:node:n1", "n1") })
	report(t, admin)
	require.Eventually(t, ready(corev1.ConditionTrue), 10*time.Second, 5*time.Millisecond, "back")
}

// report is what the node's agent does at first, and when it sees that it was given up. The service may be writing the
// same object.
func report(t *testing.T, c *client.Client) {
	require.NoError(t, retry.RetryOnConflict(retry.DefaultRetry, func() error {
		n := &corev1.Node{}
		if err := c.Get(t.Context(), n, "", "n1"); err != nil {
			return err
		}
		ready := conditions.Node(n, corev1.NodeReady)
		if ready == nil {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeReady, Reason: "KubeletReady"})
			ready = conditions.Node(n, corev1.NodeReady)
		}
		ready.Status = corev1.ConditionTrue
		return c.UpdateStatus(t.Context(), n)
	}))
}

// sendBeats beats as often as it is told to until ctx ends or it is refused.
func sendBeats(ctx context.Context, conn grpc.ClientConnInterface, node string) error {
	stream, err := nodev1.NewHeartbeatServiceClient(conn).Heartbeat(ctx)
	if err != nil {
		return err
	}
	for {
		if err := stream.Send(&nodev1.HeartbeatRequest{Node: node}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		told, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(told.GetIntervalMs()) * time.Millisecond):
		}
	}
}
