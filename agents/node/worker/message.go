package worker

import (
	"context"
	"io"
	"os"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

// Bounds of a termination message, as on a kubelet.
const (
	maxMessage      = 4096
	maxFromLog      = 2048
	maxLinesFromLog = 80
	// maxOnDisk is what a message's file may take up when it is looked at.
	maxOnDisk = 64 << 10
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

// messageFromFile is the end of what a container has written to its file.
func (w *worker) messageFromFile(c *runtime.Container) string {
	f, err := os.Open(w.messagePath(c))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > maxMessage {
		_, _ = f.Seek(-maxMessage, io.SeekEnd) // a part is better than nothing
	}
	data, _ := io.ReadAll(io.LimitReader(f, maxMessage))
	return string(data)
}

func (w *worker) messagePath(c *runtime.Container) string {
	return w.pool.cfg.Volumes.Path(string(w.uid), messageFile(c.Container, c.Attempt))
}

// TrimMessages gives the disk back what containers have written to their files beyond what is ever read of it, so that
// none can fill the disk there.
func (p *Pool) TrimMessages() {
	var paths []string
	p.each(func(w *worker) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for name := range w.obs.Containers {
			if c := w.obs.Latest(name); c != nil && c.State == runtime.Running {
				paths = append(paths, w.messagePath(c))
			}
		}
	})
	for _, path := range paths {
		if err := trim(path); err != nil {
			p.cfg.Log.Warn("a termination message is too long", zap.String("file", path), zap.Error(err))
		}
	}
}

// trim takes the beginning of a file off the disk, down to what is read of it. Its length stays, as whoever writes to it
// goes on behind that.
func trim(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || st.Blocks*512 <= maxOnDisk {
		return nil //nolint:nilerr // gone, or a container without one
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if st.Size <= maxMessage {
		return f.Truncate(st.Size) // what was reserved behind its end
	}
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, st.Size-maxMessage)
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
