package shutdown

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func pod(name string, priority int32, grace int64) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Priority: &priority, TerminationGracePeriodSeconds: &grace}}
}

func TestPlan(t *testing.T) {
	plain, quick, valued, system := pod("plain", 0, 60), pod("quick", 0, 2), pod("valued", 1000, 60), pod("system", 2_000_000_000, 60)
	require.Equal(t, []Step{
		{[]End{{plain, 10 * time.Second}, {quick, 2 * time.Second}}, 10 * time.Second},
		{[]End{{valued, 10 * time.Second}}, 10 * time.Second},
		{[]End{{system, 10 * time.Second}}, 10 * time.Second},
	}, Plan([]*corev1.Pod{system, plain, valued, quick}, Config{}))
	require.Equal(t, []Step{{[]End{{plain, 50 * time.Second}}, 50 * time.Second}}, Plan([]*corev1.Pod{plain}, Config{Grace: time.Minute, Critical: 10 * time.Second}))
	require.Empty(t, Plan(nil, Config{}))
}

func TestTimesShrink(t *testing.T) {
	c := Config{}.WithDefaults()
	require.Equal(t, Config{5 * time.Second, 5 * time.Second / 3}, c.Within(5*time.Second))
	require.Equal(t, c, c.Within(time.Hour))
	require.Equal(t, c, c.Within(0))
}
