package api

import (
	"context"
	"encoding/base64"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/api/registry"
)

// The ConfigMap that everybody may read, also who has no name yet: where the API is and by which authority to know it.
const (
	clusterInfo       = "cluster-info"
	clusterInfoConfig = "kubeconfig"
)

// ensureClusterInfo makes the ConfigMap, as a kubeconfig without a user, where the API knows what to say in it. What others
// add to it (signatures for those who join) stays.
func (s *Server) ensureClusterInfo(ctx context.Context) error {
	if len(s.config.CA) == 0 || !s.config.Advertise.IsValid() {
		return nil
	}
	kubeconfig := fmt.Sprintf(`apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: %s
    server: https://%s
  name: ""
contexts: null
current-context: ""
kind: Config
users: null
`, base64.StdEncoding.EncodeToString(s.config.CA), s.config.Advertise)
	info := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: clusterInfo, Namespace: metav1.NamespacePublic},
		Data:       map[string]string{clusterInfoConfig: kubeconfig},
	}
	err := s.keep(ctx, info, func(old registry.Object) {
		stored := old.(*corev1.ConfigMap)
		if stored.Data == nil {
			stored.Data = map[string]string{}
		}
		stored.Data[clusterInfoConfig] = kubeconfig
	})
	if err != nil {
		return fmt.Errorf("make the ConfigMap about the cluster: %w", err)
	}
	return nil
}
