package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/aggregator"
	"karve.dev/karve/services/api/registry"
)

func (s *Server) newAggregator() *aggregator.Aggregator {
	config := aggregator.Config{Resources: s.resources, Services: s.reach, Started: s.ready, Log: s.config.Log.Named("aggregator")}
	if s.config.FrontProxy != nil {
		config.Certificate = s.config.FrontProxy.Certificate
	}
	return aggregator.New(config)
}

// elsewhere reports whether another server serves a group version.
func (s *Server) elsewhere(gv schema.GroupVersion) bool { return s.others.Serves(gv) }

// extensionAuthentication is the ConfigMap by which the servers of aggregated APIs learn whom to believe.
const extensionAuthentication = "extension-apiserver-authentication"

// ensureExtensionAuthentication makes the ConfigMap, where the API knows what to say in it.
func (s *Server) ensureExtensionAuthentication(ctx context.Context) error {
	if s.config.FrontProxy == nil {
		return nil
	}
	data := map[string]string{
		"client-ca-file":                     string(s.config.CA),
		"requestheader-client-ca-file":       string(s.config.FrontProxy.CAPEM()),
		"requestheader-allowed-names":        list(identity.FrontProxyName),
		"requestheader-username-headers":     list("X-Remote-User"),
		"requestheader-uid-headers":          list("X-Remote-Uid"),
		"requestheader-group-headers":        list("X-Remote-Group"),
		"requestheader-extra-headers-prefix": list("X-Remote-Extra-"),
	}
	if len(s.config.CA) == 0 {
		delete(data, "client-ca-file")
	}
	want := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: extensionAuthentication, Namespace: metav1.NamespaceSystem}, Data: data}
	err := s.keep(ctx, want, func(old registry.Object) {
		stored := old.(*corev1.ConfigMap)
		if stored.Data == nil {
			stored.Data = map[string]string{}
		}
		maps.Copy(stored.Data, data)
	})
	if err != nil {
		return fmt.Errorf("make the ConfigMap about whom to believe: %w", err)
	}
	return nil
}

// list writes a list as the ConfigMap has it.
func list(names ...string) string {
	data, _ := json.Marshal(names) // strings are always written
	return string(data)
}
