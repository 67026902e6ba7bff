package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

const (
	// resyncEvery is how often containers are listed although events tell everything.
	resyncEvery = 5 * time.Minute
	// pulseEvery is how often the engine is asked whether it lives, by default, and how long it may take to say so. It is
	// long: an engine under load is slow, and to call its node not ready moves all its pods elsewhere in the end.
	pulseEvery = 15 * time.Second
	// longList is how long it may take at most until all containers are listed.
	longList = 4 * time.Minute
)

// errNoAnswer is why a call is given up that the engine may have lost while it was ill.
var errNoAnswer = errors.New("it does not answer in time")

// followEngine keeps watching the engine. Whenever it is reached anew all containers are listed, after the watch has
// begun, so that nothing falls between. Both have only so much time: more each time, as the engine may just be slow.
func (a *Agent) followEngine(ctx context.Context) error {
	wait, patience := firstPause, a.cfg.PulseEvery
	for {
		err := a.watchEngine(ctx, patience, func() { wait, patience = firstPause, a.cfg.PulseEvery })
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errNoAnswer) {
			patience = min(2*patience, longList)
		}
		err = cmp.Or(err, errors.New("the watch ended"))
		a.log.Warn("lost sight of the container engine", zap.Error(err))
		a.setEngine(fmt.Errorf("container runtime is down: %w", err))
		if !pause(ctx, wait) {
			return nil
		}
		wait = min(wait*2, longPause)
	}
}

// watchEngine watches the engine until it is lost, and says whenever all containers have been listed.
func (a *Agent) watchEngine(ctx context.Context, patience time.Duration, listed func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { a.feelPulse(ctx, cancel) })
	late := time.AfterFunc(patience, func() { cancel(errNoAnswer) })
	err := a.cfg.Runtime.Watch(ctx, a.owner, func() {
		beside.Go(func() {
			if err := a.resync(ctx, func() { late.Stop(); listed() }); err != nil {
				cancel(err) // and begin again
			}
		})
	}, a.handle)
	late.Stop()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(nil)
	beside.Wait()
	return err
}

// feelPulse asks the engine from time to time whether it lives. One that hangs takes calls, and never answers: its watch
// stays silent as that of an engine where nothing happens.
func (a *Agent) feelPulse(ctx context.Context, stop context.CancelCauseFunc) {
	pinger, ok := a.cfg.Runtime.(runtime.Pinger)
	if !ok {
		return
	}
	for pause(ctx, a.cfg.PulseEvery) {
		short, cancel := context.WithTimeout(ctx, a.cfg.PulseEvery)
		err := pinger.Ping(short)
		if short.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("it has not answered for %s", a.cfg.PulseEvery)
		}
		cancel()
		if err != nil {
			stop(err)
			return
		}
	}
}

// resync lists containers, now and from time to time, and each time says that it has; it returns when ctx ends or the
// engine does not answer.
func (a *Agent) resync(ctx context.Context, listed func()) error {
	for {
		a.images.Forget()
		if err := a.pool.Resync(ctx); err != nil {
			return err
		}
		listed()
		if err := a.network.SweepPorts(); err != nil {
			a.log.Warn("remove host ports of pods that are gone", zap.Error(err))
		}
		a.learnEngine(ctx)
		if a.healthy() != nil {
			a.setEngine(nil)
			a.pool.Recovered()
		}
		a.imagesChanged()
		if _, pretends := a.cfg.Runtime.(runtime.Simulation); pretends || !pause(ctx, resyncEvery) {
			return nil
		}
	}
}

// learnEngine tells what the engine is, as far as it answers.
func (a *Agent) learnEngine(ctx context.Context) {
	info, err := a.cfg.Runtime.Info(ctx)
	if err != nil {
		return
	}
	a.learnRoot(info)
	handlers := describeHandlers(info.Handlers)
	a.node.Change(func(st *corev1.NodeStatus) {
		st.NodeInfo.ContainerRuntimeVersion = info.Name + "://" + info.Version
		st.RuntimeHandlers = handlers
	})
}

func (a *Agent) handle(ev runtime.Event) {
	if ev.Kind == runtime.ImageChanged {
		a.imagesChanged()
	}
	a.pool.Handle(ev)
}
