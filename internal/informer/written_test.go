package informer

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWritesHoldUpTheirOwnerUntilTheyAreShown(t *testing.T) {
	pods := For[*corev1.Pod](NewSet(nil, zap.NewNop()))
	w := NewWritten(pods)
	owner, other := Key{"shop", "web"}, Key{"shop", "db"}
	pods.put(pod("a", "1", 3, "x"), 3)
	require.True(t, w.Shown(owner))

	w.Stored(owner, pod("b", "2", 7, "x"))
	w.Stored(owner, pod("c", "3", 6, "x"))
	require.False(t, w.Shown(owner))
	require.True(t, w.Shown(other))
	pods.put(pod("c", "3", 6, "x"), 6)
	require.False(t, w.Shown(owner))
	pods.bookmark(7) // made and deleted again between two looks: the revision tells
	require.True(t, w.Shown(owner))

	w.Deleted(owner, pod("a", "1", 3, "x"))
	require.False(t, w.Shown(owner))
	stopping := pod("a", "1", 8, "x")
	stopping.DeletionTimestamp = &metav1.Time{}
	pods.put(stopping, 8)
	require.True(t, w.Shown(owner))
	w.Deleted(owner, pod("a", "1", 8, "x"))
	pods.put(pod("a", "other", 9, "x"), 9)
	require.True(t, w.Shown(owner), "the name is another pod's by now")
}

func TestAWriteThatIsNeverShownDoesNotHoldUpForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWritten(For[*corev1.Pod](NewSet(nil, zap.NewNop())))
		owner := Key{"shop", "web"}
		w.Stored(owner, pod("b", "2", 7000, "x"))
		require.False(t, w.Shown(owner))
		time.Sleep(writtenLife)
		require.True(t, w.Shown(owner))
	})
}
