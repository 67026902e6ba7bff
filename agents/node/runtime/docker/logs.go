package docker

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/runtime/docker/logfile"
)

// Logs implements runtime.LogReader.
func (r *Runtime) Logs(ctx context.Context, id string, opts runtime.LogOptions, stdout, stderr io.Writer) error {
	short, cancel := context.WithTimeout(ctx, callTimeout)
	res, err := r.cli.ContainerInspect(short, id, client.ContainerInspectOptions{})
	cancel()
	if err != nil {
		return wrap("find the log of container "+id, err)
	}
	if c := &res.Container; c.LogPath != "" && c.HostConfig.LogConfig.Type == logDriver {
		err := r.readLog(ctx, c, opts, stdout, stderr)
		if !errors.Is(err, logfile.ErrNone) {
			return err
		}
	}
	return r.askForLog(ctx, id, opts, stdout, stderr)
}

// readLog reads the log's files, until the container has ended where it is followed.
func (r *Runtime) readLog(ctx context.Context, c *container.InspectResponse, opts runtime.LogOptions, stdout, stderr io.Writer) error {
	ended := make(chan struct{})
	var waiting sync.WaitGroup
	defer waiting.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if opts.Follow && c.State.Running {
		waiting.Go(func() {
			defer close(ended)
			res := r.cli.ContainerWait(ctx, c.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
			select {
			case <-res.Result:
			case <-res.Error: // it has been removed, or the engine is gone
			}
		})
	} else {
		close(ended)
	}
	return logfile.Copy(ctx, c.LogPath, opts, ended, stdout, stderr)
}

// askForLog has the engine read a log that is not on this machine.
func (r *Runtime) askForLog(ctx context.Context, id string, opts runtime.LogOptions, stdout, stderr io.Writer) error {
	asked := client.ContainerLogsOptions{
		ShowStdout: stdout != nil, ShowStderr: stderr != nil || opts.TTY, Follow: opts.Follow, Timestamps: opts.Timestamps,
	}
	if opts.Tail >= 0 {
		asked.Tail = strconv.FormatInt(opts.Tail, 10)
	}
	if !opts.Since.IsZero() {
		asked.Since = opts.Since.Format(time.RFC3339Nano)
	}
	logs, err := r.cli.ContainerLogs(ctx, id, asked)
	if err != nil {
		return wrap("read the log of container "+id, err)
	}
	defer logs.Close()
	err = demultiplex(logs, opts.TTY, stdout, stderr)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
