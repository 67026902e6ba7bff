package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"karve.dev/karve/agents/node/runtime"
)

// Limits say when images are removed. The zero value stands for a kubelet's defaults: 85, 80, two minutes.
type Limits struct {
	// High is the percentage of the disk in use at which images are removed until Low is reached; 100: never.
	High, Low int
	// MinAge is how old an image must be.
	MinAge time.Duration
}

// WithDefaults fills in what is zero.
func (l Limits) WithDefaults() Limits {
	l.High, l.Low, l.MinAge = cmp.Or(l.High, 85), cmp.Or(l.Low, 80), cmp.Or(l.MinAge, 2*time.Minute)
	return l
}

// Validate says what is wrong with limits, in words for the person who gave them.
func (l Limits) Validate() error {
	l = l.WithDefaults()
	if l.High < 1 || l.High > 100 || l.Low < 0 || l.Low >= l.High && l.High < 100 {
		return fmt.Errorf("image limits of %d%% and %d%%: give percentages, the high one above the low one", l.High, l.Low)
	}
	return nil
}

// Excess is how many bytes are to be freed on a disk.
func (l Limits) Excess(total, free int64) int64 {
	if l.High >= 100 || total <= 0 || (total-free)*100 < total*int64(l.High) {
		return 0
	}
	return total*int64(100-l.Low)/100 - free
}

// unused are the images that may go, those that have not been used for the longest time first.
func unused(recorded map[string]pulled, inUse map[string]bool, minAge time.Duration, now time.Time) []string {
	var ids []string
	for id, p := range recorded {
		if !inUse[id] && now.Sub(p.Pulled) >= minAge {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(recorded[a].Used.Compare(recorded[b].Used), recorded[a].Pulled.Compare(recorded[b].Pulled), cmp.Compare(a, b))
	})
	return ids
}

// Collect removes images that were pulled for pods and are not in use, until need bytes are freed. It returns what it
// has removed and how much that was; images that the engine holds on to are left.
func (m *Manager) Collect(ctx context.Context, need int64, inUse map[string]bool, minAge time.Duration) (removed []string, freed int64, err error) {
	remover, ok := m.rt.(runtime.ImageRemover)
	if !ok || need <= 0 {
		return nil, 0, nil
	}
	images, err := m.rt.Images(ctx)
	if err != nil {
		return nil, 0, err
	}
	size := map[string]int64{}
	for _, image := range images {
		size[image.ID] = image.Size
	}
	recorded := m.record.settle(images)
	var errs []error
	for _, id := range unused(recorded, inUse, minAge, time.Now()) {
		if freed >= need || ctx.Err() != nil {
			break
		}
		if err := m.remove(ctx, remover, id, recorded[id].Names); err != nil {
			errs = append(errs, err)
			continue
		}
		m.record.forget(id)
		removed = append(removed, append(recorded[id].Names, id)[0])
		freed += size[id]
	}
	m.Forget()
	return removed, freed, errors.Join(append(errs, m.record.flush())...)
}

// remove takes all names of an image away, with the last of which it goes itself. Between the decision and now it may
// have come into use, or somebody may have given a name to another image: the engine refuses the former, and the latter
// is looked at here.
func (m *Manager) remove(ctx context.Context, remover runtime.ImageRemover, id string, names []string) error {
	for _, name := range names {
		image, err := m.rt.Image(ctx, name)
		if errors.Is(err, runtime.ErrNotFound) || err == nil && image.ID != id {
			continue
		}
		if err != nil {
			return err
		}
		if err := remover.RemoveImage(ctx, name); err != nil && !errors.Is(err, runtime.ErrNotFound) {
			return err
		}
	}
	if _, err := m.rt.Image(ctx, id); errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	if err := remover.RemoveImage(ctx, id); err != nil && !errors.Is(err, runtime.ErrNotFound) {
		return err
	}
	return nil
}
