package process

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// diary is what components write down about their start and stop.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) add(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

func journal(d *diary, name string, ready func(context.Context) error) Component {
	return Component{Name: name, WaitReady: ready, Run: func(ctx context.Context) error {
		d.add("start " + name)
		<-ctx.Done()
		d.add("stop " + name)
		return nil
	}}
}

func after(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestComponentsStartInOrderAndStopInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h := NewHealth()
		g := NewGroup(h, zap.NewNop())
		g.Add(journal(&d, "api", after(time.Second)))
		g.Add(journal(&d, "scheduler", after(time.Second)))
		g.Add(journal(&d, "node", nil))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		synctest.Wait()
		require.Equal(t, []string{"start api"}, d.read())
		require.ErrorContains(t, h.Err(), "api is starting")
		require.NoError(t, h.Wait(t.Context()))
		cancel()
		require.NoError(t, <-done)
		require.Equal(t, []string{"start api", "start scheduler", "start node", "stop node", "stop scheduler", "stop api"}, d.read())
		require.Equal(t, Stopped, h.List()[0].State)
	})
}

func TestTheFirstFailureStopsAllAndIsNamed(t *testing.T) {
	for name, run := range map[string]func(context.Context) error{
		"port is taken":      func(context.Context) error { return errors.New("port is taken") },
		"panic: boom":        func(context.Context) error { panic("boom") },
		"ended unexpectedly": func(context.Context) error { return nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			var d diary
			h := NewHealth()
			g := NewGroup(h, zap.NewNop())
			g.Add(journal(&d, "api", nil))
			g.Add(Component{Name: "gateway", Run: run, WaitReady: after(time.Hour)})
			g.Add(journal(&d, "node", nil))
			err := g.Run(t.Context())
			require.ErrorContains(t, err, "gateway: "+name)
			require.Equal(t, []string{"start api", "stop api"}, d.read())
			require.Equal(t, Failing, h.List()[1].State)
			require.ErrorContains(t, h.Err(), name)
		})
	}
}

func TestAComponentThatHangsDoesNotKeepTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		g := NewGroup(NewHealth(), zap.NewNop())
		hang := make(chan struct{})
		g.Add(journal(&d, "api", nil))
		g.Add(Component{Name: "stuck", Run: func(context.Context) error { <-hang; return nil }})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, g.Run(ctx))
		close(hang)
		require.Equal(t, []string{"start api", "stop api"}, d.read())
	})
}

func TestBackgroundComponentsBecomeReadyByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h := NewHealth()
		g := NewGroup(h, zap.NewNop())
		slow := journal(&d, "slow", after(time.Minute))
		slow.Background = true
		g.Add(slow)
		g.Add(journal(&d, "next", nil))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		synctest.Wait()
		require.Len(t, d.read(), 2)
		h.Set("next", Failing, "lost the API")
		require.ErrorContains(t, h.Err(), "next is failing: lost the API")
		h.Set("next", Ready, "")
		require.NoError(t, h.Wait(t.Context()))
		cancel()
		require.NoError(t, <-done)
	})
}

func TestDebugIsOnAPrivateSocketOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "debug.sock")
	h := NewHealth()
	h.Set("api", Failing, "disk full")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ServeUnix(ctx, path, Debug{Health: h}.Handler()) }()
	hc := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	var res *http.Response
	require.Eventually(t, func() (ok bool) {
		got, err := hc.Get("http://debug/health")
		res = got
		return err == nil
	}, 5*time.Second, time.Millisecond)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	require.Contains(t, string(body), "disk full")
	require.ErrorContains(t, ServeUnix(ctx, path, nil), "another process")
	hc.CloseIdleConnections()
	cancel()
	require.NoError(t, <-done)
	require.NoFileExists(t, path)
}

func TestLoggerRefusesWhatItDoesNotKnow(t *testing.T) {
	var out bytes.Buffer
	log, level, err := NewLogger(&out, JSON, "warn")
	require.NoError(t, err)
	log.Info("hidden")
	level.SetLevel(zap.InfoLevel)
	log.Info("shown")
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
	_, _, err = NewLogger(&out, JSON, "loud")
	require.ErrorContains(t, err, "use debug, info, warn or error")
	_, _, err = NewLogger(&out, "xml", "info")
	require.ErrorContains(t, err, "use console or json")
}
