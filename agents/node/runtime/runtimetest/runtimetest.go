// Package runtimetest is the contract of runtime.Runtime as a suite, for every implementation.
package runtimetest

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/agents/node/runtime"
)

// patience bounds every wait.
const patience = 30 * time.Second

// Run checks rt. The image must be present; its program must run until SIGTERM and then end with 0.
func Run(t *testing.T, rt runtime.Runtime, image string) {
	s := &suite{rt: rt, image: image, owner: runtime.Owner{Cluster: "conformance" + strconv.Itoa(os.Getpid()), Node: "n"}}
	t.Cleanup(func() { s.removeAll(t) })
	for name, test := range map[string]func(*testing.T){
		"a pod's life": s.life, "verbs are idempotent": s.idempotent, "what does not exist": s.missing,
		"owners are kept apart": s.owners, "labels carry everything": s.labels,
	} {
		t.Run(name, test)
	}
}

type suite struct {
	rt    runtime.Runtime
	image string
	owner runtime.Owner
}

func (s *suite) removeAll(t *testing.T) {
	for _, owner := range []runtime.Owner{s.owner, {Cluster: s.owner.Cluster, Node: "other"}} {
		all, err := s.rt.List(context.Background(), owner)
		require.NoError(t, err)
		for _, c := range all {
			require.NoError(t, s.rt.Remove(context.Background(), c.ID))
		}
	}
}

func (s *suite) meta(pod, container string) runtime.Meta {
	return runtime.Meta{Owner: s.owner, Namespace: "ns", Pod: pod, UID: "uid-of-" + pod, Container: container}
}

// sandbox makes and starts a sandbox.
func (s *suite) sandbox(t *testing.T, pod string) string {
	id, err := s.rt.CreateSandbox(t.Context(), runtime.SandboxSpec{Meta: s.meta(pod, runtime.SandboxName), Hostname: pod})
	require.NoError(t, err)
	c, err := s.rt.Start(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, runtime.Running, c.State)
	return id
}

func (s *suite) container(pod, sandbox string) runtime.ContainerSpec {
	spec := runtime.ContainerSpec{Meta: s.meta(pod, "app"), Image: s.image}
	spec.Sandbox = sandbox
	return spec
}

// watch collects events until the test ends.
func (s *suite) watch(t *testing.T) *events {
	ctx, cancel := context.WithCancel(context.Background())
	seen := &events{}
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.rt.Watch(ctx, s.owner, func() { close(ready) }, seen.add) }()
	t.Cleanup(func() {
		cancel()
		require.Error(t, <-done, "a watch ends with an error")
	})
	select {
	case <-ready:
	case <-time.After(patience):
		require.Fail(t, "the watch is never ready")
	}
	return seen
}

type events struct {
	mu  sync.Mutex
	all []runtime.Event
}

func (e *events) add(ev runtime.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

func (e *events) wait(t *testing.T, kind runtime.EventKind, id string) runtime.Event {
	t.Helper()
	var found runtime.Event
	require.Eventually(t, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, ev := range e.all {
			if ev.Kind == kind && ev.ID == id {
				found = ev
				return true
			}
		}
		return false
	}, patience, time.Millisecond)
	return found
}

func (s *suite) life(t *testing.T) {
	seen := s.watch(t)
	ctx := t.Context()
	sandbox := s.sandbox(t, "life")
	id, err := s.rt.CreateContainer(ctx, s.container("life", sandbox))
	require.NoError(t, err)
	c, err := s.rt.Inspect(ctx, id)
	require.NoError(t, err)
	require.Equal(t, runtime.Created, c.State)
	seen.wait(t, runtime.ContainerCreated, id)

	c, err = s.rt.Start(ctx, id)
	require.NoError(t, err)
	require.Equal(t, runtime.Running, c.State)
	require.False(t, c.StartedAt.IsZero())
	require.NotEmpty(t, c.ImageID)
	seen.wait(t, runtime.ContainerStarted, id)

	require.NoError(t, s.rt.Signal(ctx, id, "SIGTERM"))
	ev := seen.wait(t, runtime.ContainerEnded, id)
	require.Equal(t, "life", ev.Meta.Pod)
	c, err = s.rt.Inspect(ctx, id)
	require.NoError(t, err)
	require.Equal(t, runtime.Exited, c.State)
	require.Zero(t, c.ExitCode)
	require.False(t, c.FinishedAt.Before(c.StartedAt))

	require.NoError(t, s.rt.Remove(ctx, id))
	seen.wait(t, runtime.ContainerRemoved, id)
	require.NoError(t, s.rt.Remove(ctx, sandbox), "a running one is killed")
	seen.wait(t, runtime.ContainerEnded, sandbox)
	seen.wait(t, runtime.ContainerRemoved, sandbox)
}

func (s *suite) idempotent(t *testing.T) {
	ctx := t.Context()
	sandbox := s.sandbox(t, "twice")
	again, err := s.rt.CreateSandbox(ctx, runtime.SandboxSpec{Meta: s.meta("twice", runtime.SandboxName), Hostname: "twice"})
	require.NoError(t, err)
	require.Equal(t, sandbox, again, "what runs is taken over")

	first, err := s.rt.CreateContainer(ctx, s.container("twice", sandbox))
	require.NoError(t, err)
	second, err := s.rt.CreateContainer(ctx, s.container("twice", sandbox))
	require.NoError(t, err, "what never ran is replaced")
	all, err := s.rt.List(ctx, s.owner)
	require.NoError(t, err)
	require.Len(t, all, 2)
	if first != second {
		_, err = s.rt.Inspect(ctx, first)
		require.ErrorIs(t, err, runtime.ErrNotFound)
	}
	for range 2 {
		c, err := s.rt.Start(ctx, second)
		require.NoError(t, err)
		require.Equal(t, runtime.Running, c.State)
	}
	seen := s.watch(t)
	require.NoError(t, s.rt.Signal(ctx, second, "SIGKILL"))
	seen.wait(t, runtime.ContainerEnded, second)
	c, err := s.rt.Inspect(ctx, second)
	require.NoError(t, err)
	require.EqualValues(t, 137, c.ExitCode)
	require.NoError(t, s.rt.Signal(ctx, second, "SIGKILL"), "nothing happens to what has ended")
	for range 2 {
		require.NoError(t, s.rt.Remove(ctx, second))
		require.NoError(t, s.rt.Remove(ctx, sandbox))
	}
	require.NoError(t, s.rt.Signal(ctx, second, "SIGKILL"), "or is gone")
}

func (s *suite) missing(t *testing.T) {
	ctx := t.Context()
	_, err := s.rt.Inspect(ctx, "karve-no-such-container")
	require.ErrorIs(t, err, runtime.ErrNotFound)
	_, err = s.rt.Start(ctx, "karve-no-such-container")
	require.ErrorIs(t, err, runtime.ErrNotFound)
	var fault *runtime.StartError
	require.False(t, errors.As(err, &fault))
	_, err = s.rt.Image(ctx, "karve-no-such-image:1")
	require.ErrorIs(t, err, runtime.ErrNotFound)
	image, err := s.rt.Image(ctx, s.image)
	require.NoError(t, err)
	require.NotEmpty(t, image.ID)
}

func (s *suite) owners(t *testing.T) {
	sandbox := s.sandbox(t, "mine")
	meta := s.meta("theirs", runtime.SandboxName)
	meta.Owner.Node = "other"
	theirs, err := s.rt.CreateSandbox(t.Context(), runtime.SandboxSpec{Meta: meta})
	require.NoError(t, err)
	all, err := s.rt.List(t.Context(), s.owner)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, sandbox, all[0].ID)
	require.NoError(t, s.rt.Remove(t.Context(), sandbox))
	require.NoError(t, s.rt.Remove(t.Context(), theirs))
}

func (s *suite) labels(t *testing.T) {
	spec := s.container("labels", s.sandbox(t, "labels"))
	spec.Attempt, spec.Grace, spec.NextDelay, spec.Hash, spec.StopSignal = 3, time.Minute, 20*time.Second, "abc", "SIGUSR1"
	if info, err := s.rt.Info(t.Context()); err == nil && len(info.Handlers) > 0 {
		spec.Handler = info.Handlers[len(info.Handlers)-1]
	}
	id, err := s.rt.CreateContainer(t.Context(), spec)
	require.NoError(t, err)
	c, err := s.rt.Inspect(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, spec.Meta, c.Meta)
	require.NoError(t, s.rt.Remove(t.Context(), id))
	require.NoError(t, s.rt.Remove(t.Context(), spec.Sandbox))
}
