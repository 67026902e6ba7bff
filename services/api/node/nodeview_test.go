package node_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/services/api/apitest"
)

func TestProxiesHearOfNodesWhatConcernsThem(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	m := open(t, c, "n1", nodev1.Scope_SCOPE_SERVICES)
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}
	require.NoError(t, cl.Create(ctx, n))
	m.until(m.has("Node /n2"))
	first := m.objects["Node /n2"].Revision

	report := func(status corev1.ConditionStatus, beat time.Time) {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, LastHeartbeatTime: metav1.NewTime(beat)}}
		require.NoError(t, cl.UpdateStatus(ctx, n))
	}
	report(corev1.ConditionTrue, time.Now())
	m.until(func() bool { return m.objects["Node /n2"].Revision > first })
	ready := m.objects["Node /n2"].Revision
	report(corev1.ConditionTrue, time.Now().Add(time.Minute))
	require.NoError(t, cl.Create(ctx, serviceIn("default", "later")))
	m.until(m.has("Service default/later"))
	require.Equal(t, ready, m.objects["Node /n2"].Revision, "a heartbeat is no news for it")
	report(corev1.ConditionUnknown, time.Now())
	m.until(func() bool { return m.objects["Node /n2"].Revision > ready })
}
