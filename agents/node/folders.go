package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/session"
	nodefolders "karve.dev/karve/agents/node/volume"
	"karve.dev/karve/agents/node/worker"
	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/turns"
	"karve.dev/karve/internal/volume"
)

// reportTimeout bounds one report about removed folders.
const reportTimeout = 10 * time.Second

// folderKeeper removes the folders of volumes that are deleted, and says so. A volume whose data is to be retained
// loses its object only.
type folderKeeper struct {
	node    string
	objects *session.Objects
	folders *nodefolders.Folders
	rpc     nodev1.VolumeServiceClient
	events  worker.Recorder
	log     *zap.Logger
	task    turns.Task
}

// look makes the keeper look at all volumes again.
func (k *folderKeeper) look() { k.task.Wake() }

// start lets the keeper work in the group.
func (k *folderKeeper) start(group *turns.Group) {
	k.task.Init(group, turns.Retrying(firstPause, time.Minute, func(ctx context.Context) error {
		err := k.remove(ctx)
		if err != nil && ctx.Err() == nil {
			k.log.Warn("remove the folders of deleted volumes", zap.Error(err))
		}
		return err
	}))
	k.task.Start()
}

func (k *folderKeeper) remove(ctx context.Context) error {
	var gone []string
	var failed error
	for _, v := range k.objects.Volumes() {
		if !discarded(v, k.node) {
			continue
		}
		if v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
			if err := k.folders.Remove(ctx, v); err != nil {
				failed = err
				if ctx.Err() == nil {
					k.events.Event(v, corev1.EventTypeWarning, "VolumeFailedDelete", "%v", err)
				}
				continue
			}
			k.log.Info("removed the folder of a deleted volume", zap.String("volume", v.Name))
		}
		gone = append(gone, v.Name)
	}
	if len(gone) == 0 {
		return failed
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	if _, err := k.rpc.ReportRemoved(ctx, &nodev1.ReportRemovedRequest{Node: k.node, Volumes: gone}); err != nil {
		return fmt.Errorf("report removed folders: %w", err)
	}
	return failed
}

// discarded says whether a volume of this node is deleted and nobody's any more.
func discarded(v *corev1.PersistentVolume, node string) bool {
	return v.Labels[volume.NodeLabel] == node && v.DeletionTimestamp != nil && v.Status.Phase != corev1.VolumeBound &&
		slices.Contains(v.Finalizers, volume.FolderFinalizer)
}

// foldersOf is where a node keeps volumes; a node that pretends keeps none.
func foldersOf(rt runtime.Runtime, dir string) *nodefolders.Folders {
	if _, pretends := rt.(runtime.Simulation); pretends {
		return nodefolders.NewFolders("")
	}
	return nodefolders.NewFolders(dir)
}
