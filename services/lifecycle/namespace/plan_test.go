package namespace

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/lifecycle/inventory"
)

func TestPodsGoFirst(t *testing.T) {
	pods := &inventory.Kind{Version: "v1", Resource: "pods", Delete: true}
	secrets := &inventory.Kind{Version: "v1", Resource: "secrets", DeleteCollection: true}
	deployments := &inventory.Kind{Group: "apps", Version: "v1", Resource: "deployments", Delete: true}
	readOnly := &inventory.Kind{Group: "metrics.k8s.io", Version: "v1", Resource: "pods"}
	content := map[*inventory.Kind]int{pods: 1, secrets: 1, deployments: 2, readOnly: 3}
	require.Equal(t, []*inventory.Kind{pods}, next(content))
	delete(content, pods)
	require.Equal(t, []*inventory.Kind{secrets, deployments}, next(content))
	require.Empty(t, next(nil))
}

func TestConditionsSayWhatIsLeft(t *testing.T) {
	var status corev1.NamespaceStatus
	r := remains{content: map[string]int{"pods.": 2, "deployments.apps": 1}, finalizers: map[string]int{"x": 3}, failures: []string{"no"}}
	now := metav1.Now()
	require.True(t, setConditions(&status, r, now))
	messages := map[corev1.NamespaceConditionType]string{}
	for _, c := range status.Conditions {
		messages[c.Type] = string(c.Status) + " " + c.Message
	}
	require.Equal(t, "True Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 resource instances", messages[corev1.NamespaceContentRemaining])
	require.Equal(t, "True Some content in the namespace has finalizers remaining: x in 3 resource instances", messages[corev1.NamespaceFinalizersRemaining])
	require.Equal(t, "True no", messages[corev1.NamespaceDeletionContentFailure])
	require.Equal(t, "False All resources successfully discovered", messages[corev1.NamespaceDeletionDiscoveryFailure])
	require.False(t, setConditions(&status, r, metav1.Now()), "the same again is no news")
	require.True(t, setConditions(&status, remains{}, metav1.Now()))
}
