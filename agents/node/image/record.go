package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"karve.dev/karve/agents/node/runtime"
)

// Record remembers which images of the engine were pulled for pods: what somebody built, loaded or pulled there is
// never among them. It is kept in a file.
type Record struct {
	file string

	mu     sync.Mutex
	images map[string]*pulled // by ID
}

// pulled is an image that was not on the engine before a pod asked for it.
type pulled struct {
	// Names are all that the engine had for it after the pull: one more, and it is somebody's.
	Names  []string  `json:"names"`
	Pulled time.Time `json:"pulled"`
	Used   time.Time `json:"used"`
}

// OpenRecord reads a record; what cannot be read is forgotten, which keeps its images. An empty file name keeps nothing.
func OpenRecord(file string) (*Record, error) {
	r := &Record{file: file, images: map[string]*pulled{}}
	if file == "" {
		return r, nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r.images)
	}
	if err != nil {
		r.images = map[string]*pulled{}
		return r, fmt.Errorf("read which images were pulled: %w", err)
	}
	maps.DeleteFunc(r.images, func(_ string, p *pulled) bool { return p == nil })
	return r, nil
}

// add notes a pull; before are the names that the image had, nil when it was not there. One that was there is noted only
// when its earlier pull was, and names that somebody gave it do not become the record's.
func (r *Record) add(image runtime.Image, before []string, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.images[image.ID]
	if known == nil && before != nil {
		return nil
	}
	if known == nil {
		known = &pulled{Pulled: now}
		r.images[image.ID] = known
	}
	known.Used = now
	for _, name := range namesOf(image) {
		if !slices.Contains(before, name) && !slices.Contains(known.Names, name) {
			known.Names = append(known.Names, name)
		}
	}
	return r.save()
}

// has tells whether an image was pulled for a pod.
func (r *Record) has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.images[id] != nil
}

// use notes that a pod has asked for an image.
func (r *Record) use(id string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.images[id]; p != nil {
		p.Used = now
	}
}

// settle compares the record with what the engine has: images that are gone are forgotten, and those that somebody has
// given another name, who wants to keep them. It returns what is left.
func (r *Record) settle(images []runtime.Image) map[string]pulled {
	r.mu.Lock()
	defer r.mu.Unlock()
	there := map[string]runtime.Image{}
	for _, image := range images {
		there[image.ID] = image
	}
	out := map[string]pulled{}
	for id, p := range r.images {
		image, ok := there[id]
		if ok && !slices.ContainsFunc(namesOf(image), func(name string) bool { return !slices.Contains(p.Names, name) }) {
			out[id] = *p
			continue
		}
		delete(r.images, id)
	}
	return out
}

// forget drops an image that was removed.
func (r *Record) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.images, id)
}

// flush writes the record.
func (r *Record) flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.save()
}

// save writes the record. mu must be held.
func (r *Record) save() error {
	if r.file == "" {
		return nil
	}
	text, err := json.Marshal(r.images)
	if err != nil {
		return fmt.Errorf("write which images were pulled: %w", err)
	}
	if err := os.WriteFile(r.file+".new", text, 0o600); err != nil {
		return fmt.Errorf("write which images were pulled: %w", err)
	}
	if err := os.Rename(r.file+".new", r.file); err != nil {
		return fmt.Errorf("write which images were pulled: %w", err)
	}
	return nil
}

// namesOf are an image's tags, or its digests where it has no tag.
func namesOf(image runtime.Image) []string {
	out := []string{}
	for _, list := range [][]string{image.Names, image.Digests} {
		for _, name := range list {
			if name != "<none>:<none>" && name != "<none>@<none>" {
				out = append(out, name)
			}
		}
		if len(out) > 0 {
			break
		}
	}
	return out
}
