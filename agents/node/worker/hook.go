package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/probe"
	"karve.dev/karve/agents/node/runtime"
)

// maxOutput bounds what is kept of a probe's or hook's output.
const maxOutput = 10 << 10

// hook runs a postStart or preStop handler.
func (w *worker) hook(ctx context.Context, c *corev1.Container, id string, h *corev1.LifecycleHandler) error {
	w.mu.Lock()
	host := w.obs.Address
	if host == "" && len(w.obs.HostIPs) > 0 {
		host = w.obs.HostIPs[0]
	}
	w.mu.Unlock()
	switch {
	case h.Exec != nil:
		code, output, err := w.pool.exec(ctx, id, h.Exec.Command)
		if err == nil && code != 0 {
			err = errors.New(strings.TrimSuffix(fmt.Sprintf("command %q exited with %d: %s", h.Exec.Command, code, output), ": "))
		}
		return err
	case h.HTTPGet != nil:
		return probe.HTTPGet(ctx, c, host, h.HTTPGet)
	case h.TCPSocket != nil:
		return probe.TCPConnect(ctx, c, host, h.TCPSocket)
	case h.Sleep != nil:
		timer := time.NewTimer(time.Duration(h.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		return nil
	}
	return errors.New("the hook has no handler")
}

// exec runs a command in a container and returns what it wrote, bounded.
func (p *Pool) exec(ctx context.Context, id string, command []string) (int, string, error) {
	execer, ok := p.cfg.Runtime.(runtime.Execer)
	if !ok {
		return 0, "", errors.New("this runtime cannot run commands")
	}
	var out bounded
	code, err := execer.Exec(ctx, id, runtime.ExecSpec{Command: command, End: true}, runtime.Streams{Stdout: &out, Stderr: &out})
	return code, out.String(), err
}

// bounded keeps the beginning of what is written to it.
type bounded struct{ bytes.Buffer }

var _ io.Writer = (*bounded)(nil)

func (b *bounded) Write(data []byte) (int, error) {
	if room := maxOutput - b.Len(); room > 0 {
		b.Buffer.Write(data[:min(room, len(data))])
	}
	return len(data), nil
}
