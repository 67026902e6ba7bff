package api

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/api/registry"
)

// namespaceDashboard is where the dashboard lives, whose accounts people make before it runs.
const namespaceDashboard = "kubernetes-dashboard"

// namespaces are there from the start.
var namespaces = []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease, namespaceDashboard}

// bootstrap makes what every cluster has. It writes only what is missing or differs.
func (s *Server) bootstrap(ctx context.Context) error {
	for _, name := range namespaces {
		if err := s.ensure(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return fmt.Errorf("make namespace %s: %w", name, err)
		}
	}
	if err := s.ensurePolicy(ctx); err != nil {
		return err
	}
	if err := s.ensurePriorities(ctx); err != nil {
		return err
	}
	if err := s.ensureClusterInfo(ctx); err != nil {
		return err
	}
	if err := s.ensureExtensionAuthentication(ctx); err != nil {
		return err
	}
	if err := s.ensureService(ctx); err != nil {
		return err
	}
	return s.ensureDNS(ctx)
}

func (s *Server) ensure(ctx context.Context, obj registry.Object) error {
	err := s.resources.Insert(ctx, obj)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
