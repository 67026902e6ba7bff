package image

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"karve.dev/karve/agents/node/runtime"
)

// tellEvery is how often the progress of a pull is told.
const tellEvery = 15 * time.Second

// progressOf tells of a pull that takes long, now and then.
func progressOf(name string, emit Emit) runtime.Progress {
	var mu sync.Mutex
	last := time.Now()
	return func(done, total int64) {
		mu.Lock()
		due := time.Since(last) >= tellEvery
		if due {
			last = time.Now()
		}
		mu.Unlock()
		if due {
			emit(corev1.EventTypeNormal, "Pulling", "Pulling image %q: %s of %s", name, size(done), size(total))
		}
	}
}

func size(bytes int64) string {
	return resource.NewQuantity(bytes>>20<<20, resource.BinarySI).String()
}

// fetchWith pulls with one set of credentials, or none.
func (m *Manager) fetchWith(ctx context.Context, name string, auth *runtime.Credentials, progress runtime.Progress) error {
	if telling, ok := m.rt.(runtime.ProgressPuller); ok && progress != nil {
		return telling.PullTelling(ctx, name, auth, progress)
	}
	return m.rt.Pull(ctx, name, auth)
}

// noting looks at what the engine has before a pull, and returns what notes the image afterwards. When the engine does
// not tell, nothing is noted: an image too many stays then.
func (m *Manager) noting(ctx context.Context) func(runtime.Image) {
	images, err := m.rt.Images(ctx)
	if err != nil {
		return func(runtime.Image) {}
	}
	before := map[string][]string{}
	for _, image := range images {
		before[image.ID] = namesOf(image)
	}
	return func(image runtime.Image) {
		// A record that cannot be written counts until the agent ends; then its images stay.
		_ = m.record.add(image, before[image.ID], time.Now())
	}
}
