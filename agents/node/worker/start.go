package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/image"
	"karve.dev/karve/agents/node/podstate"
	"karve.dev/karve/agents/node/runtime"
)

func (w *worker) beginStart(ctx context.Context, a podstate.Action) {
	pod, pending := w.pod, w.sandbox
	c := findContainer(pod, a.Name)
	if c == nil || pending == nil {
		return
	}
	w.pool.counts.add(containerType(w, a.Name), "")
	w.launch(ctx, a.Name, podstate.Op{Verb: podstate.Start}, func(ctx context.Context) {
		s := &starting{worker: w, pod: pod, c: c, Action: a, sandbox: pending}
		err := s.run(ctx)
		var failure *startFailure
		switch {
		case err == nil:
			w.mu.Lock()
			w.fine(a.Name)
			w.mu.Unlock()
		case errors.As(err, &failure):
			w.countFault(a, failure.reason)
			w.failWith(a.Name, failure.trouble(), failure.delay)
		case ctx.Err() == nil && !errors.Is(err, errSandbox):
			w.log().Warn("start container", zapContainer(a.Name), zapError(err))
			w.countFault(a, createError)
			w.fail(a.Name, createError, err.Error(), retryDelay)
		}
	})
}

// errSandbox means that the sandbox could not be made; its own trouble says why.
var errSandbox = errors.New("the sandbox was not made")

// startFailure is a failure that the container's status shows.
type startFailure struct {
	reason string
	err    error
	delay  func(failures int) time.Duration
}

func (f *startFailure) Error() string { return f.err.Error() }

func (f *startFailure) trouble() podstate.Trouble {
	t := podstate.Trouble{Reason: f.reason, Message: f.Error()}
	var missing *image.Failure
	if errors.As(f.err, &missing) {
		t.Image = missing.Image
	}
	return t
}

// starting is the start of one attempt of one container.
type starting struct {
	*worker
	podstate.Action
	pod     *corev1.Pod
	c       *corev1.Container
	sandbox *pendingSandbox
}

func (s *starting) emit(eventType, reason, format string, args ...any) {
	s.event(s.c.Name, eventType, reason, format, args...)
}

// run makes and starts the container. Volumes, image and the container itself are prepared while the sandbox starts. As on
// a kubelet, an image is not asked for before the volumes are there.
func (s *starting) run(ctx context.Context) error {
	if err := s.mount(ctx); err != nil {
		return err
	}
	img, err := s.image(ctx)
	if err != nil {
		return err
	}
	sandbox, err := s.sandbox.wait(ctx, false)
	if err != nil {
		return fmt.Errorf("%w: %w", errSandbox, err)
	}
	spec, err := s.spec(ctx, img, sandbox)
	if err != nil {
		err = s.pool.explain(err)
		s.emit(corev1.EventTypeWarning, "Failed", "Error: %v", err)
		return &startFailure{configError, err, retryDelay}
	}
	id, err := s.create(ctx, spec)
	if err != nil {
		return err
	}
	if _, err := s.sandbox.wait(ctx, true); err != nil {
		return fmt.Errorf("%w: %w", errSandbox, err)
	}
	return s.launchContainer(ctx, id, &spec.Meta, img)
}

// mount makes the pod's volumes.
func (s *starting) mount(ctx context.Context) error {
	err := s.prepareVolumes(ctx, false)
	if err == nil {
		err = s.serversAnswer()
	}
	var failure *image.Failure
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case errors.As(err, &failure):
		return &startFailure{failure.Reason, failure, pullDelay}
	}
	err = s.pool.explain(err)
	s.sayFailedMount(err)
	return &startFailure{volumesMissing, err, retryDelay}
}

// serversAnswer makes sure of the servers of the volumes that the container mounts.
func (s *starting) serversAnswer() error {
	var errs []error
	for _, m := range s.c.VolumeMounts {
		errs = append(errs, s.pool.cfg.Volumes.Answers(s.volumes(), m.Name))
	}
	return errors.Join(errs...)
}

// sayFailedMount tells why volumes could not be made. The pod's containers find out one after the other: it is said once.
func (w *worker) sayFailedMount(err error) {
	w.mu.Lock()
	text, now := err.Error(), time.Now()
	said := w.mountSaid == text && now.Before(w.mountSaidAt.Add(retryDelay(0)))
	if !said {
		w.mountSaid, w.mountSaidAt = text, now
	}
	w.mu.Unlock()
	if said {
		return
	}
	for line := range strings.Lines(text) { // one for each volume
		w.event("", corev1.EventTypeWarning, "FailedMount", "%s", strings.TrimSpace(line))
	}
}

func (s *starting) image(ctx context.Context) (runtime.Image, error) {
	img, err := s.pool.cfg.Images.Ensure(ctx, s.c, s.pullSecrets(s.pod, s.c.Image), s.emit)
	var failure *image.Failure
	if errors.As(err, &failure) {
		return img, &startFailure{failure.Reason, failure, pullDelay}
	}
	return img, err
}

func (s *starting) create(ctx context.Context, spec runtime.ContainerSpec) (string, error) {
	release, err := s.pool.slot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	id, err := s.pool.cfg.Runtime.CreateContainer(s.life(), spec)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, runtime.ErrUnavailable) {
			s.emit(corev1.EventTypeWarning, "Failed", "Error: %v", err)
			return "", &startFailure{createError, err, retryDelay}
		}
		return "", err
	}
	s.mu.Lock()
	s.observe(runtime.Container{Meta: spec.Meta, ID: id, State: runtime.Created, Image: spec.Image, CreatedAt: time.Now()})
	s.mu.Unlock()
	s.emit(corev1.EventTypeNormal, "Created", "Container created")
	return id, nil
}

func (s *starting) launchContainer(ctx context.Context, id string, meta *runtime.Meta, img runtime.Image) error {
	release, err := s.pool.slot(ctx)
	if err != nil {
		return err
	}
	running, err := s.pool.cfg.Runtime.Start(s.life(), id)
	release()
	var fault *runtime.StartError
	if errors.As(err, &fault) && !s.sandboxRuns(ctx, meta.Sandbox) {
		return fmt.Errorf("%w: %w", errSandbox, err)
	}
	if errors.As(err, &fault) {
		s.countFault(s.Action, "RunContainerError")
		s.emit(corev1.EventTypeWarning, "Failed", "Error: %v", fault)
		s.mu.Lock()
		s.observe(runtime.Container{
			Meta: *meta, ID: id, Image: s.c.Image, ImageID: img.ID,
			State: runtime.Exited, ExitCode: 128, Error: fault.Message, FinishedAt: time.Now(),
		})
		s.mu.Unlock()
		return nil // it has run its course, and is restarted by the rules for that
	}
	if err != nil {
		return err
	}
	if running.State == runtime.Exited {
		running.Message = s.terminationMessage(ctx, &running)
	}
	s.bound(&running)
	user := processUser(running.PID)
	s.mu.Lock()
	if user != nil {
		put(&s.obs.Users, id, *user)
	}
	s.observe(running)
	s.mu.Unlock()
	if err := s.pool.cfg.Logs.Add(meta, id, running.Log); err != nil {
		s.log().Warn("the log is not where collectors look", zap.Error(err))
	}
	s.emit(corev1.EventTypeNormal, "Started", "Container started")
	s.kick()
	return s.postStart(ctx, &running)
}

// sandboxRuns tells a container that is at fault from one whose sandbox has ended under it.
func (s *starting) sandboxRuns(ctx context.Context, id string) bool {
	c, err := s.pool.cfg.Runtime.Inspect(ctx, id)
	switch {
	case errors.Is(err, runtime.ErrNotFound):
		s.worker.mu.Lock()
		s.lost(id)
		s.worker.mu.Unlock()
		return false
	case err != nil:
		return false
	}
	s.worker.mu.Lock()
	s.observe(c)
	s.worker.mu.Unlock()
	return c.State == runtime.Running
}

// postStart runs the container's hook; a failure costs it its life.
func (s *starting) postStart(ctx context.Context, running *runtime.Container) error {
	if s.c.Lifecycle == nil || s.c.Lifecycle.PostStart == nil {
		return nil
	}
	if err := s.hook(ctx, s.c, running.ID, s.c.Lifecycle.PostStart); err != nil && ctx.Err() == nil {
		s.mu.Lock()
		put(&s.obs.HookErrors, running.ID, err.Error())
		s.mu.Unlock()
		s.countFault(s.Action, "PostStartHookError")
		s.emit(corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed: %v", err)
		s.emit(corev1.EventTypeNormal, "Killing", "FailedPostStartHook")
		return s.pool.cfg.Runtime.Signal(ctx, running.ID, "SIGKILL")
	}
	return nil
}
