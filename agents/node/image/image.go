// Package image makes images available to containers, by the rules of imagePullPolicy and one of Karve's own: an image
// whose name carries no registry host and that is on the engine already is what its user means. It may have been built
// here; no registry can know better.
//
//   - Built or loaded here (it carries no registry digest): used without asking a registry.
//   - Pulled before, with policy Always: asked for again, but not for long, and not while the registry was out of reach
//     a moment ago; the image that is there is used when that fails.
//
// Both are said in the event.
package image

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

const (
	// courtesy bounds the pull of an image that can be used anyway.
	courtesy = 2 * time.Second
	// coolDown is how long a registry that did not answer is not asked again for such images.
	coolDown = 5 * time.Minute
	// pullTimeout bounds any pull.
	pullTimeout = time.Hour
	// parallelPulls bounds the pulls of a node.
	parallelPulls = 4
	// remembered bounds the cache of what the engine has.
	remembered = 512
)

// Failure is why an image is not available. Reason is what the waiting container shows.
type Failure struct {
	Image, Reason, Message string
	// Retry is false when trying again changes nothing until the engine's images change.
	Retry bool
}

func (f *Failure) Error() string { return f.Message }

// Reasons of a Failure, and of the wait after one.
const (
	ErrImagePull      = "ErrImagePull"
	ImagePullBackOff  = "ImagePullBackOff"
	ErrImageNeverPull = "ErrImageNeverPull"
	InvalidImageName  = "InvalidImageName"
	ImageInspectError = "ImageInspectError"
)

// Emit records an event about the container that asks for the image.
type Emit func(eventType, reason, format string, args ...any)

// Manager makes images available on one engine. It is safe for concurrent use.
type Manager struct {
	rt     runtime.Runtime
	slots  chan struct{}
	record *Record

	mu          sync.Mutex
	known       map[string]runtime.Image // by the name that was asked for
	generation  int                      // counts Forget, so that an answer from before is not kept
	unreachable time.Time
}

// New returns a manager for an engine; record may be nil: what is pulled is not remembered then.
func New(rt runtime.Runtime, record *Record) *Manager {
	if record == nil {
		record = &Record{images: map[string]*pulled{}}
	}
	return &Manager{rt: rt, slots: make(chan struct{}, parallelPulls), record: record, known: map[string]runtime.Image{}}
}

// Forget drops what is known about the engine's images; they have changed.
func (m *Manager) Forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.generation++
	clear(m.known)
}

// Ensure makes a container's image available and returns it. Its error is a *Failure when the image is at fault.
func (m *Manager) Ensure(ctx context.Context, c *corev1.Container, auths []runtime.Credentials, emit Emit) (runtime.Image, error) {
	name := c.Image
	if !valid(name) {
		return runtime.Image{}, refuse(emit, &Failure{Image: name, Reason: InvalidImageName, Message: fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: invalid reference format", name, name)})
	}
	have, err := m.find(ctx, name)
	present := err == nil
	if err != nil && !errors.Is(err, runtime.ErrNotFound) {
		if errors.Is(err, runtime.ErrUnavailable) || ctx.Err() != nil {
			return runtime.Image{}, err
		}
		return runtime.Image{}, refuse(emit, &Failure{Image: name, Reason: ImageInspectError, Message: fmt.Sprintf("Failed to inspect image %q: %v", name, err), Retry: true})
	}
	switch policy := pullPolicy(c); {
	case policy != corev1.PullAlways && present:
		m.record.use(have.ID, time.Now())
		emit(corev1.EventTypeNormal, "Pulled", "Container image %q already present on machine and can be accessed by the pod", name)
		return have, nil
	case policy == corev1.PullNever:
		return runtime.Image{}, refuse(emit, &Failure{Image: name, Reason: ErrImageNeverPull, Message: fmt.Sprintf("Container image %q is not present with pull policy of Never", name)})
	case present && !hasRegistry(name):
		return m.refresh(ctx, name, have, auths, emit), nil
	}
	return m.pull(ctx, name, auths, emit)
}

// refuse tells of a failure that no pull has had a part in.
func refuse(emit Emit, f *Failure) *Failure {
	reason := "InspectFailed"
	if f.Reason == ErrImageNeverPull {
		reason = f.Reason
	}
	emit(corev1.EventTypeWarning, reason, "%s", f.Message)
	emit(corev1.EventTypeWarning, "Failed", "Error: %s", f.Reason)
	return f
}

// refresh asks the registry for a newer image where that can make sense, and keeps what is there otherwise.
func (m *Manager) refresh(ctx context.Context, name string, have runtime.Image, auths []runtime.Credentials, emit Emit) runtime.Image {
	if len(have.Digests) == 0 {
		emit(corev1.EventTypeNormal, "Pulled", "Image %q is used from the engine: it was built or loaded there, and its name carries no registry host", name)
		return have
	}
	m.mu.Lock()
	cooling := time.Since(m.unreachable) < coolDown
	m.mu.Unlock()
	reason := "its registry did not answer a moment ago"
	if !cooling {
		short, cancel := context.WithTimeout(ctx, courtesy)
		// What somebody has pulled stays theirs, also when it is pulled again.
		note := func(runtime.Image) {}
		if m.record.has(have.ID) {
			note = m.noting(short)
		}
		err := m.fetch(short, name, auths, nil)
		late := short.Err() != nil
		cancel()
		if err == nil {
			if image, err := m.find(ctx, name); err == nil {
				note(image)
				emit(corev1.EventTypeNormal, "Pulled", "Successfully pulled image %q", name)
				return image
			}
		}
		if late || unreachable(err) {
			m.mu.Lock()
			m.unreachable = time.Now()
			m.mu.Unlock()
		}
		reason = fmt.Sprintf("it could not be pulled (%v)", err)
	}
	m.record.use(have.ID, time.Now())
	emit(corev1.EventTypeNormal, "Pulled", "Image %q is used from the engine: %s, and its name carries no registry host", name, reason)
	return have
}

// unreachable tells a registry that is not there from one that refuses.
func unreachable(err error) bool {
	if err == nil {
		return false
	}
	for _, sign := range []string{"dial tcp", "no such host", "timeout", "connection refused", "TLS handshake", "server misbehaving"} {
		if strings.Contains(err.Error(), sign) {
			return true
		}
	}
	return false
}

func (m *Manager) pull(ctx context.Context, name string, auths []runtime.Credentials, emit Emit) (runtime.Image, error) {
	emit(corev1.EventTypeNormal, "Pulling", "Pulling image %q", name)
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	waited := time.Now()
	select {
	case m.slots <- struct{}{}:
	case <-ctx.Done():
		return runtime.Image{}, ctx.Err()
	}
	begun := time.Now()
	note := m.noting(ctx)
	err := m.fetch(ctx, name, auths, progressOf(name, emit))
	<-m.slots
	if err == nil {
		var image runtime.Image
		if image, err = m.find(ctx, name); err == nil {
			note(image)
			emit(corev1.EventTypeNormal, "Pulled", "Successfully pulled image %q in %s (%s including waiting). Image size: %d bytes.",
				name, time.Since(begun).Round(time.Millisecond), time.Since(waited).Round(time.Millisecond), image.Size)
			return image, nil
		}
	}
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return runtime.Image{}, ctx.Err()
	}
	emit(corev1.EventTypeWarning, "Failed", "Failed to pull image %q: %v", name, err)
	emit(corev1.EventTypeWarning, "Failed", "Error: %s", ErrImagePull)
	return runtime.Image{}, &Failure{Image: name, Reason: ErrImagePull, Message: err.Error(), Retry: true}
}

// fetch tries each set of credentials in turn, or none.
func (m *Manager) fetch(ctx context.Context, name string, auths []runtime.Credentials, progress runtime.Progress) error {
	defer m.Forget() // the engine's own word of the change may come later
	if len(auths) == 0 {
		return m.fetchWith(ctx, name, nil, progress)
	}
	var err error
	for i := range auths {
		if err = m.fetchWith(ctx, name, &auths[i], progress); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// find asks the engine for an image, once until its images change.
func (m *Manager) find(ctx context.Context, name string) (runtime.Image, error) {
	m.mu.Lock()
	image, ok := m.known[name]
	generation := m.generation
	m.mu.Unlock()
	if ok {
		return image, nil
	}
	image, err := m.rt.Image(ctx, name)
	if err != nil {
		return image, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.generation == generation {
		if len(m.known) >= remembered {
			clear(m.known)
		}
		m.known[name] = image
	}
	return image, nil
}
