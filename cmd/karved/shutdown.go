package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"karve.dev/karve/agents/node"
	"karve.dev/karve/agents/node/shutdown"
	"karve.dev/karve/internal/process"
)

// shutdownComponent ends pods when the machine goes down: when the login manager says so, which waits for them, or on
// SIGPWR, by which anything else can (karve shutdown does). After the latter the process ends, too.
func shutdownComponent(agents func() []*node.Agent, log *zap.Logger) process.Component {
	down := func(ctx context.Context, limit time.Duration) {
		var all sync.WaitGroup
		for _, a := range agents() {
			all.Go(func() {
				if err := a.Shutdown(ctx, limit); err != nil {
					log.Warn("shut down", zap.Error(err))
				}
			})
		}
		all.Wait()
	}
	up := func() {
		for _, a := range agents() {
			a.Stay()
		}
	}
	return process.Component{Name: "shutdown of the machine", Background: true, Run: func(ctx context.Context) error {
		power := make(chan os.Signal, 1)
		signal.Notify(power, syscall.SIGPWR)
		defer signal.Stop(power)
		watched := make(chan error, 1)
		watchCtx, cancel := context.WithCancel(ctx)
		go func() {
			watched <- (&shutdown.Watcher{Down: down, Up: up, Log: log.Named("shutdown")}).Run(watchCtx)
		}()
		var err error
		select {
		case <-power:
			down(ctx, 0)
			err = syscall.Kill(os.Getpid(), syscall.SIGTERM)
			<-ctx.Done()
		case <-ctx.Done():
		}
		cancel()
		return errors.Join(err, <-watched)
	}}
}
