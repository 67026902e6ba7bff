package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
)

// Debug is what a process shows of its inside over HTTP: /debug/pprof, /metrics, /health and /log/level (GET, and PUT
// to change it). Any of the fields may be zero.
type Debug struct {
	Metrics  prometheus.Gatherer
	Health   *Health
	LogLevel *zap.AtomicLevel
}

// Handler returns the handler. Whoever reaches it can read the process's memory: serve it with ServeUnix.
func (d Debug) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	if d.Metrics != nil {
		mux.Handle("/metrics", promhttp.HandlerFor(d.Metrics, promhttp.HandlerOpts{}))
	}
	if d.LogLevel != nil {
		mux.Handle("/log/level", d.LogLevel)
	}
	if d.Health != nil {
		mux.HandleFunc("/health", d.Health.serve)
	}
	return mux
}

func (h *Health) serve(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if h.Err() != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	type status struct {
		Name   string    `json:"name"`
		State  State     `json:"state"`
		Reason string    `json:"reason,omitempty"`
		Since  time.Time `json:"since"`
	}
	out := []status{}
	for _, s := range h.List() {
		out = append(out, status(s))
	}
	// The status line is out already: a client that has gone away is all that can fail.
	_ = json.NewEncoder(w).Encode(out)
}

// ServeUnix serves handler on a unix socket that only the process's user can open, until ctx ends. A socket that an
// earlier process left is replaced; one that answers is an error.
func ServeUnix(ctx context.Context, path string, handler http.Handler) error {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close()
		return fmt.Errorf("socket %s: another process serves it", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replace a stale socket: %w", err)
	}
	lis, err := listenPrivate(ctx, path)
	if err != nil {
		return err
	}
	defer os.Remove(path)
	return serve(ctx, lis, handler)
}

// listenPrivate makes the socket inside a directory of its own first, so that at no moment others can open it.
func listenPrivate(ctx context.Context, path string) (net.Listener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".sock-")
	if err != nil {
		return nil, fmt.Errorf("make socket %s: %w", path, err)
	}
	defer os.RemoveAll(dir)
	var lc net.ListenConfig
	inner := filepath.Join(dir, "s")
	lis, err := lc.Listen(ctx, "unix", inner)
	if err != nil {
		return nil, fmt.Errorf("make socket %s: %w", path, err)
	}
	lis.(*net.UnixListener).SetUnlinkOnClose(false)
	if err = os.Chmod(inner, 0o600); err == nil {
		err = os.Rename(inner, path)
	}
	if err != nil {
		_ = lis.Close()
		return nil, fmt.Errorf("make socket %s: %w", path, err)
	}
	return lis, nil
}

func serve(ctx context.Context, lis net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- server.Serve(lis) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve debug endpoint on %s: %w", lis.Addr(), err)
	case <-ctx.Done():
	}
	_ = server.Close()
	<-done
	return nil
}
