// Package measured counts and times what an agent asks of its container engine.
package measured

import (
	"context"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"karve.dev/karve/agents/node/runtime"
)

// Complete is a runtime with all the abilities that are optional.
type Complete interface {
	runtime.Runtime
	runtime.Execer
	runtime.Attacher
	runtime.LogReader
	runtime.ImageRemover
	runtime.ImageReader
	runtime.Resizer
	runtime.ProgressPuller
	runtime.Pinger
}

// Runtime is a runtime whose operations are measured. Those that last as long as their user likes are only counted.
type Runtime struct {
	Complete
	total, failed *prometheus.CounterVec
	took          *prometheus.HistogramVec
}

// New returns rt with measurement, registered with r, or rt itself when it cannot be measured.
func New(rt runtime.Runtime, r prometheus.Registerer) (runtime.Runtime, error) {
	complete, ok := rt.(Complete)
	if !ok {
		return rt, nil
	}
	label := []string{"operation_type"}
	m := &Runtime{
		Complete: complete,
		total:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_runtime_operations_total", Help: "Cumulative number of runtime operations by operation type."}, label),
		failed:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_runtime_operations_errors_total", Help: "Cumulative number of runtime operation errors by operation type."}, label),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kubelet_runtime_operations_duration_seconds", Help: "Duration in seconds of runtime operations. Broken down by operation type.",
			Buckets: []float64{.005, .0125, .03, .08, .2, .5, 1.2, 3, 7.5, 19, 47, 116, 291},
		}, label),
	}
	for _, c := range []prometheus.Collector{m.total, m.failed, m.took} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// begin counts an operation; what it returns is called with its error.
func (m *Runtime) begin(kind string) func(error) {
	began := time.Now()
	return func(err error) {
		m.total.WithLabelValues(kind).Inc()
		m.took.WithLabelValues(kind).Observe(time.Since(began).Seconds())
		if err != nil {
			m.failed.WithLabelValues(kind).Inc()
		}
	}
}

func one[T any](m *Runtime, kind string, do func() (T, error)) (T, error) {
	end := m.begin(kind)
	out, err := do()
	end(err)
	return out, err
}

func (m *Runtime) only(kind string, do func() error) error {
	end := m.begin(kind)
	err := do()
	end(err)
	return err
}

// Info implements runtime.Runtime.
func (m *Runtime) Info(ctx context.Context) (runtime.Info, error) {
	return one(m, "version", func() (runtime.Info, error) { return m.Complete.Info(ctx) })
}

// List implements runtime.Runtime.
func (m *Runtime) List(ctx context.Context, owner runtime.Owner) ([]runtime.Container, error) {
	return one(m, "list_containers", func() ([]runtime.Container, error) { return m.Complete.List(ctx, owner) })
}

// Inspect implements runtime.Runtime.
func (m *Runtime) Inspect(ctx context.Context, id string) (runtime.Container, error) {
	return one(m, "container_status", func() (runtime.Container, error) { return m.Complete.Inspect(ctx, id) })
}

// CreateSandbox implements runtime.Runtime.
func (m *Runtime) CreateSandbox(ctx context.Context, spec runtime.SandboxSpec) (string, error) {
	return one(m, "run_podsandbox", func() (string, error) { return m.Complete.CreateSandbox(ctx, spec) })
}

// CreateContainer implements runtime.Runtime.
func (m *Runtime) CreateContainer(ctx context.Context, spec runtime.ContainerSpec) (string, error) {
	return one(m, "create_container", func() (string, error) { return m.Complete.CreateContainer(ctx, spec) })
}

// Start implements runtime.Runtime.
func (m *Runtime) Start(ctx context.Context, id string) (runtime.Container, error) {
	return one(m, "start_container", func() (runtime.Container, error) { return m.Complete.Start(ctx, id) })
}

// Signal implements runtime.Runtime.
func (m *Runtime) Signal(ctx context.Context, id, signal string) error {
	return m.only("stop_container", func() error { return m.Complete.Signal(ctx, id, signal) })
}

// Remove implements runtime.Runtime.
func (m *Runtime) Remove(ctx context.Context, id string) error {
	return m.only("remove_container", func() error { return m.Complete.Remove(ctx, id) })
}

// Image implements runtime.Runtime.
func (m *Runtime) Image(ctx context.Context, ref string) (runtime.Image, error) {
	return one(m, "image_status", func() (runtime.Image, error) { return m.Complete.Image(ctx, ref) })
}

// Images implements runtime.Runtime.
func (m *Runtime) Images(ctx context.Context) ([]runtime.Image, error) {
	return one(m, "list_images", func() ([]runtime.Image, error) { return m.Complete.Images(ctx) })
}

// Pull implements runtime.Runtime.
func (m *Runtime) Pull(ctx context.Context, ref string, auth *runtime.Credentials) error {
	return m.only("pull_image", func() error { return m.Complete.Pull(ctx, ref, auth) })
}

// PullTelling implements runtime.ProgressPuller.
func (m *Runtime) PullTelling(ctx context.Context, ref string, auth *runtime.Credentials, progress runtime.Progress) error {
	return m.only("pull_image", func() error { return m.Complete.PullTelling(ctx, ref, auth, progress) })
}

// Resize implements runtime.Resizer.
func (m *Runtime) Resize(ctx context.Context, id string, r runtime.Resources) error {
	return m.only("update_container", func() error { return m.Complete.Resize(ctx, id, r) })
}

// RemoveImage implements runtime.ImageRemover.
func (m *Runtime) RemoveImage(ctx context.Context, ref string) error {
	return m.only("remove_image", func() error { return m.Complete.RemoveImage(ctx, ref) })
}

// Exec implements runtime.Execer.
func (m *Runtime) Exec(ctx context.Context, id string, spec runtime.ExecSpec, streams runtime.Streams) (int, error) {
	m.total.WithLabelValues("exec").Inc()
	return m.Complete.Exec(ctx, id, spec, streams)
}

// Attach implements runtime.Attacher.
func (m *Runtime) Attach(ctx context.Context, id string, tty bool, streams runtime.Streams) error {
	m.total.WithLabelValues("attach").Inc()
	return m.Complete.Attach(ctx, id, tty, streams)
}

// Logs implements runtime.LogReader.
func (m *Runtime) Logs(ctx context.Context, id string, opts runtime.LogOptions, stdout, stderr io.Writer) error {
	m.total.WithLabelValues("container_logs").Inc()
	return m.Complete.Logs(ctx, id, opts, stdout, stderr)
}
