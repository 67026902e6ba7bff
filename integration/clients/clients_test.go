// Package clients are programs as users write them with client-go and controller-runtime, unmodified, against the cluster of
// $KUBECONFIG. The whole-cluster tests start one and run them.
package clients

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// wait is how long a condition may take.
const wait = 30 * time.Second

func config(t *testing.T) *rest.Config {
	path := os.Getenv("KUBECONFIG")
	if path == "" {
		t.Skip("needs a cluster: set KUBECONFIG")
	}
	c, err := clientcmd.BuildConfigFromFlags("", path)
	require.NoError(t, err)
	c.QPS = -1
	return c
}

// namespace makes a namespace for one test.
func namespace(t *testing.T, c kubernetes.Interface) string {
	ns, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "clients-"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = c.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{})
	})
	return ns.Name
}
