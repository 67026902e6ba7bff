package storage

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/volume"
)

// StandardClass is the class that a cluster has from the start.
const StandardClass = "standard"

const (
	firstPause = 50 * time.Millisecond
	longPause  = 30 * time.Second
)

// standardClass makes the standard class in a cluster that has no class at all. One that an administrator has deleted
// in favour of others does not come back.
type standardClass struct {
	client *client.Client
	log    *zap.Logger
}

// Run tries until it has succeeded, or ctx ends.
func (s *standardClass) Run(ctx context.Context) error {
	for wait := firstPause; ; wait = min(2*wait, longPause) {
		err := s.ensure(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		s.log.Warn("make the standard storage class", zap.Error(err))
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

func (s *standardClass) ensure(ctx context.Context) error {
	have := &storagev1.StorageClassList{}
	if err := s.client.List(ctx, have, client.ListOptions{}); err != nil {
		return fmt.Errorf("list storage classes: %w", err)
	}
	if len(have.Items) > 0 {
		return nil
	}
	reclaim, binding, yes := corev1.PersistentVolumeReclaimDelete, storagev1.VolumeBindingWaitForFirstConsumer, true
	err := s.client.Create(ctx, &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: StandardClass, Annotations: map[string]string{volume.DefaultClass: "true"}},
		Provisioner: volume.LocalProvisioner, ReclaimPolicy: &reclaim, VolumeBindingMode: &binding, AllowVolumeExpansion: &yes,
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create storage class %s: %w", StandardClass, err)
	}
	return nil
}
