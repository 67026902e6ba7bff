package clients

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// TestLeaderElection: of two one leads; when that one leaves the other takes over.
func TestLeaderElection(t *testing.T) {
	c, err := kubernetes.NewForConfig(config(t))
	require.NoError(t, err)
	ns := namespace(t, c)
	leads := make(chan string, 2)
	stops := map[string]context.CancelFunc{}
	for _, id := range []string{"one", "two"} {
		ctx, stop := context.WithCancel(t.Context())
		stops[id] = stop
		go leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Name: "lock", Namespace: ns}, Client: c.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: id}},
			LeaseDuration: 10 * time.Second, RenewDeadline: 5 * time.Second, RetryPeriod: 100 * time.Millisecond, ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { leads <- id }, OnStoppedLeading: func() {}},
		})
	}
	first := next(t, leads)
	lease, err := c.CoordinationV1().Leases(ns).Get(t.Context(), "lock", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, first, *lease.Spec.HolderIdentity)
	stops[first]()
	require.NotEqual(t, first, next(t, leads))
}

func next(t *testing.T, from <-chan string) string {
	select {
	case id := <-from:
		return id
	case <-time.After(wait):
		t.Fatal("nobody leads")
		return ""
	}
}
