package node

import (
	"context"
	"errors"
	"path/filepath"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/image"
	"karve.dev/karve/agents/node/runtime"
)

// collectEvery is how many times less often than the machine is measured its disk is looked at for images to remove.
const collectEvery = 30

// openImages opens the record of the images that were pulled for the node's pods.
func (a *Agent) openImages() *image.Manager {
	file := filepath.Join(a.cfg.DataDir, "images.json")
	if _, pretends := a.cfg.Runtime.(runtime.Simulation); pretends {
		file = ""
	}
	record, err := image.OpenRecord(file)
	if err != nil {
		a.log.Warn("no image that was pulled so far will be removed", zap.Error(err))
	}
	return image.New(a.cfg.Runtime, record)
}

// collectImages removes images that were pulled for pods when the engine's disk fills up.
func (a *Agent) collectImages(ctx context.Context) error {
	if _, pretends := a.measures.machine.(plenty); pretends {
		return nil
	}
	limits := a.cfg.Images.WithDefaults()
	for pause(ctx, collectEvery*a.cfg.MeasureEvery) {
		now, err := a.measures.machine.Read()
		if err != nil {
			continue
		}
		need := limits.Excess(now.ImageDisk.Total, now.ImageDisk.Free)
		if need <= 0 {
			continue
		}
		if freed := a.freeImages(ctx, need); freed < need && ctx.Err() == nil {
			a.cfg.Events.EventOn(a.self(), corev1.EventTypeWarning, "FreeDiskSpaceFailed",
				"Failed to garbage collect required amount of images. Attempted to free %d bytes, but only found %d bytes eligible to free.", need, freed)
		}
	}
	return nil
}

// freeImages removes images that were pulled for pods and that none uses, until need bytes are free.
func (a *Agent) freeImages(ctx context.Context, need int64) (freed int64) {
	inUse, err := a.imagesInUse(ctx)
	if err != nil {
		a.log.Warn("find the images that are in use", zap.Error(err))
		return 0
	}
	removed, freed, err := a.images.Collect(ctx, need, inUse, a.cfg.Images.WithDefaults().MinAge)
	if err != nil && !errors.Is(err, context.Canceled) {
		a.log.Warn("some images could not be removed", zap.Error(err))
	}
	if len(removed) > 0 {
		a.metrics.collected.WithLabelValues("space").Add(float64(len(removed)))
		a.log.Info("removed images that were pulled for pods and are not in use", zap.Strings("images", removed), zap.Int64("bytes", freed))
	}
	return freed
}

// imagesInUse are the images of all containers that there are, also of ended ones: the engine holds on to those too. Of
// those that are mounted as volumes it does not know.
func (a *Agent) imagesInUse(ctx context.Context) (map[string]bool, error) {
	out := map[string]bool{}
	for _, p := range a.pool.All() {
		for _, list := range p.Containers {
			for i := range list {
				out[list[i].ImageID] = true
			}
		}
	}
	for _, pod := range a.pool.Pods() {
		for _, v := range pod.Spec.Volumes {
			if v.Image == nil {
				continue
			}
			img, err := a.cfg.Runtime.Image(ctx, v.Image.Reference)
			switch {
			case err == nil:
				out[img.ID] = true
			case !errors.Is(err, runtime.ErrNotFound):
				return nil, err
			}
		}
	}
	return out, nil
}
