package shutdown

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/godbus/dbus/v5"
	"go.uber.org/zap"
)

// Bus is where the machine's message bus listens.
const Bus = "unix:path=/run/dbus/system_bus_socket"

const (
	loginName    = "org.freedesktop.login1"
	loginPath    = dbus.ObjectPath("/org/freedesktop/login1")
	loginManager = "org.freedesktop.login1.Manager"
	// againAfter is how long to wait for a bus that was lost.
	againAfter = time.Minute
)

// Watcher asks the login manager to hold a shutdown of the machine up until pods have ended.
type Watcher struct {
	// Address is Bus by default.
	Address string
	// Down is called when the machine is about to go down, with the time that it grants; it may take that long. Up is
	// called when it does not go down after all.
	Down func(ctx context.Context, limit time.Duration)
	Up   func()
	Log  *zap.Logger
}

// Run watches until ctx ends. On a machine without a message bus it has nothing to do.
func (w *Watcher) Run(ctx context.Context) error {
	if w.Address == "" {
		w.Address = Bus
	}
	for {
		err := w.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			w.Log.Debug("no login manager tells of shutdowns", zap.Error(err))
			<-ctx.Done()
			return nil
		}
		w.Log.Warn("lost the login manager, which tells of shutdowns", zap.Error(err))
		timer := time.NewTimer(againAfter)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// follow holds a lock that delays shutdowns, and lets it go when pods have ended.
func (w *Watcher) follow(ctx context.Context) error {
	conn, err := dbus.Connect(w.Address, dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("connect to the message bus: %w", err)
	}
	defer conn.Close()
	login := conn.Object(loginName, loginPath)
	match := []dbus.MatchOption{dbus.WithMatchInterface(loginManager), dbus.WithMatchMember("PrepareForShutdown"), dbus.WithMatchObjectPath(loginPath)}
	if err := conn.AddMatchSignalContext(ctx, match...); err != nil {
		return fmt.Errorf("ask to be told of shutdowns: %w", err)
	}
	signals := make(chan *dbus.Signal, 8)
	conn.Signal(signals)
	lock, limit, err := w.inhibit(ctx, login)
	var unknown dbus.Error
	if errors.As(err, &unknown) && unknown.Name == "org.freedesktop.DBus.Error.ServiceUnknown" {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	if err != nil {
		return err
	}
	defer func() { lock.Close() }()
	w.Log.Info("shutdowns of the machine wait for pods", zap.Duration("at most", limit))
	for {
		select {
		case s, ok := <-signals:
			if !ok {
				return errors.New("the message bus has closed the connection")
			}
			begins, isBool := first(s)
			switch {
			case !isBool:
			case begins:
				w.Down(ctx, limit)
				lock.Close()
			default:
				w.Up()
				if lock, limit, err = w.inhibit(ctx, login); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func first(s *dbus.Signal) (value, ok bool) {
	if s.Name != loginManager+".PrepareForShutdown" || len(s.Body) == 0 {
		return false, false
	}
	value, ok = s.Body[0].(bool)
	return value, ok
}

// inhibit takes a lock: as long as its file is open, a shutdown waits, but no longer than the login manager allows.
func (w *Watcher) inhibit(ctx context.Context, login dbus.BusObject) (*os.File, time.Duration, error) {
	var fd dbus.UnixFD
	call := login.CallWithContext(ctx, loginManager+".Inhibit", 0, "shutdown", "karve", "pods need time to end", "delay")
	if err := call.Store(&fd); err != nil {
		return nil, 0, fmt.Errorf("ask shutdowns to wait: %w", err)
	}
	lock := os.NewFile(uintptr(fd), "inhibitor lock")
	v, err := login.GetProperty(loginManager + ".InhibitDelayMaxUSec")
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("ask how long shutdowns wait: %w", err), lock.Close())
	}
	micro, _ := v.Value().(uint64)
	return lock, time.Duration(micro) * time.Microsecond, nil
}
