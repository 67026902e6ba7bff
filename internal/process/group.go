// Package process is what every Karve process has: components that start and stop in order, their health, logging, and
// profiles and metrics for whoever may see them.
package process

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Component is one part of a process.
type Component struct {
	Name string
	// Run works until ctx ends and returns after everything that it started has ended. Returning earlier, even without
	// an error, ends the process.
	Run func(ctx context.Context) error
	// WaitReady blocks until others may use the component; nil means at once. The components after it start then. When
	// ctx ends first it returns ctx's error.
	WaitReady func(ctx context.Context) error
	// Background lets the next component start without waiting for this one to be ready.
	Background bool
}

// Group runs components. Add them all, then Run once.
type Group struct {
	health     *Health
	log        *zap.Logger
	grace      time.Duration
	components []Component
}

// DefaultGrace is how long each component may take to stop.
const DefaultGrace = 15 * time.Second

// NewGroup returns an empty group that reports to health.
func NewGroup(health *Health, log *zap.Logger) *Group {
	return &Group{health: health, log: log, grace: DefaultGrace}
}

// Add appends a component; the order of calls is the order of start.
func (g *Group) Add(c Component) {
	g.health.Set(c.Name, Starting, "")
	g.components = append(g.components, c)
}

// running is a component that was started.
type running struct {
	Component
	cancel context.CancelFunc
	done   chan struct{}
}

// failure is the end of a component that nobody asked for.
type failure struct {
	name string
	err  error
}

// Run starts the components in order and blocks until ctx ends or one of them does. Then it stops them in reverse
// order, each before the next, and returns nil, or the first failure with the component's name.
func (g *Group) Run(ctx context.Context) error {
	failed := make(chan failure, len(g.components))
	var started []*running
	defer func() { g.stop(started) }()
	for _, c := range g.components {
		r := g.start(ctx, c, failed)
		started = append(started, r)
		if err := g.await(ctx, r, failed); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	select {
	case f := <-failed:
		return g.report(ctx, f)
	case <-ctx.Done():
		return nil
	}
}

// start gives a component a context of its own: stopping is the group's decision, in order.
func (g *Group) start(ctx context.Context, c Component, failed chan<- failure) *running {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{Component: c, cancel: cancel, done: make(chan struct{})}
	var work sync.WaitGroup
	work.Go(func() {
		err := guard(own, c.Run)
		if own.Err() != nil {
			g.health.Set(c.Name, Stopped, "")
			return
		}
		if err == nil {
			err = errors.New("ended unexpectedly")
		}
		g.health.Set(c.Name, Failing, err.Error())
		failed <- failure{c.Name, err}
	})
	if c.Background && c.WaitReady != nil {
		work.Go(func() {
			if c.WaitReady(own) == nil {
				g.ready(c.Name)
			}
		})
	}
	go func() {
		work.Wait()
		close(r.done)
	}()
	return r
}

// guard turns a panic into an error, so that the other components still stop in order.
func guard(ctx context.Context, run func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return run(ctx)
}

// await blocks until r is ready, something has failed, or ctx has ended.
func (g *Group) await(ctx context.Context, r *running, failed <-chan failure) error {
	if r.WaitReady == nil {
		g.ready(r.Name)
		return nil
	}
	if r.Background {
		return nil
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- r.WaitReady(waiting) }()
	select {
	case err := <-ready:
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("%s: not ready: %w", r.Name, err)
		}
		if err == nil {
			g.ready(r.Name)
		}
		return nil
	case f := <-failed:
		cancel()
		<-ready
		return g.report(ctx, f)
	case <-ctx.Done():
		<-ready
		return nil
	}
}

// ready marks a component that is still starting as ready; its own word since then counts more.
func (g *Group) ready(name string) {
	for _, s := range g.health.List() {
		if s.Name == name && s.State == Starting {
			g.health.Set(name, Ready, "")
		}
	}
}

func (g *Group) report(ctx context.Context, f failure) error {
	if ctx.Err() != nil {
		return nil
	}
	g.log.Error("component failed", zap.String("component", f.name), zap.Error(f.err))
	return fmt.Errorf("%s: %w", f.name, f.err)
}

func (g *Group) stop(started []*running) {
	for i := len(started) - 1; i >= 0; i-- {
		r := started[i]
		r.cancel()
		timer := time.NewTimer(g.grace)
		select {
		case <-r.done:
		case <-timer.C:
			g.log.Error("component does not stop, going on without it", zap.String("component", r.Name), zap.Duration("waited", g.grace))
		}
		timer.Stop()
	}
}
