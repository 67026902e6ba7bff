package worker

import (
	"context"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

// Bounds of a termination message, as on a kubelet.
const (
	maxMessage      = 4096
	maxFromLog      = 2048
	maxLinesFromLog = 80
)

// terminationMessage is what a container left to say: in its file or, if that is empty and the container asks for it,
// the end of its log.
func (w *worker) terminationMessage(ctx context.Context, c *runtime.Container) string {
	if c.IsSandbox() {
		return ""
	}
	if text := w.messageFromFile(c); text != "" {
		return text
	}
	if c.MessagePolicy != string(corev1.TerminationMessageFallbackToLogsOnError) || c.ExitCode == 0 {
		return ""
	}
	logs, ok := w.pool.cfg.Runtime.(runtime.LogReader)
	if !ok {
		return ""
	}
	var out lastBytes
	if err := logs.Logs(ctx, c.ID, runtime.LogOptions{Tail: maxLinesFromLog, TTY: c.TTY}, &out, &out); err != nil {
		return ""
	}
	return string(out)
}

func (w *worker) messageFromFile(c *runtime.Container) string {
	f, err := os.Open(w.pool.cfg.Volumes.Path(string(w.uid), messageFile(c.Container, c.Attempt)))
	if err != nil {
		return ""
	}
	defer f.Close()
	data, _ := io.ReadAll(io.LimitReader(f, maxMessage)) // a part is better than nothing
	return string(data)
}

// lastBytes keeps the end of what is written to it.
type lastBytes []byte

func (l *lastBytes) Write(data []byte) (int, error) {
	*l = append(*l, data...)
	if over := len(*l) - maxFromLog; over > 0 {
		*l = append((*l)[:0], (*l)[over:]...)
	}
	return len(data), nil
}
