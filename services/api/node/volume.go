package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/volume"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/server"
	"karve.dev/karve/services/api/watch"
)

// keeper is the node that keeps a volume; "" for none.
func keeper(e *watch.Entry) string { return e.Labels().Get(volume.NodeLabel) }

// volume sends a volume that a pod of the node uses, or that the node keeps; or that it is neither any more.
func (o *outlet) volume(r ref) error {
	e := o.entry(r)
	if e == nil || !o.feed.uses(r) && keeper(e) != o.feed.node {
		o.gone(r)
		return nil
	}
	return o.set(r, e)
}

// maxVolumes bounds the volumes of one report.
const maxVolumes = 1000

// ReportRemoved implements VolumeService.
func (s *Service) ReportRemoved(ctx context.Context, req *nodev1.ReportRemovedRequest) (*nodev1.ReportRemovedResponse, error) {
	if err := checkCaller(ctx, req.GetNode()); err != nil {
		return nil, err
	}
	if len(req.GetVolumes()) > maxVolumes {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d volumes", maxVolumes))
	}
	changes := make([]server.Change, 0, len(req.GetVolumes()))
	for _, name := range req.GetVolumes() {
		changes = append(changes, server.Change{Name: name, Do: func(old registry.Object) (server.Outcome, error) {
			return letGo(req.GetNode(), old.(*corev1.PersistentVolume))
		}})
	}
	var errs []error
	for _, err := range s.objects.Batch(ctx, kindVolume, changes) {
		if !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return &nodev1.ReportRemovedResponse{}, errors.Join(errs...)
}

// letGo takes the node's finalizer off a volume; one that has no other goes.
func letGo(node string, v *corev1.PersistentVolume) (server.Outcome, error) {
	if v.Labels[volume.NodeLabel] != node || v.DeletionTimestamp == nil {
		return server.Outcome{}, apierrors.NewForbidden(corev1.Resource("persistentvolumes"), v.Name, fmt.Errorf("it is not a deleted volume of node %s", node))
	}
	v.Finalizers = slices.DeleteFunc(v.Finalizers, func(f string) bool { return f == volume.FolderFinalizer })
	return server.Outcome{Next: v, Remove: len(v.Finalizers) == 0}, nil
}
