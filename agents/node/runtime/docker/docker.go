// Package docker runs containers on the Docker Engine of the machine.
package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"karve.dev/karve/agents/node/pause"
	"karve.dev/karve/agents/node/runtime"
)

// logDriver writes containers' logs: its files can be read while they are turned over.
const logDriver = "json-file"

// callTimeout bounds every call but those that stream or wait, so that an engine that hangs is noticed.
const callTimeout = 2 * time.Minute

// Config says where the engine is.
type Config struct {
	// Host is the engine's address ("unix:///var/run/docker.sock"); empty for $DOCKER_HOST, else the default.
	Host string
	// LogMaxSize and LogMaxFiles rotate containers' logs; zero for 10 MiB and 5 files, as the kubelet does.
	LogMaxSize  int64
	LogMaxFiles int
	// LostAfter is how old a control group must be that no container has, before it is removed; a minute by default.
	LostAfter time.Duration
}

// Runtime is a runtime.Runtime on a Docker Engine. One serves any number of nodes.
type Runtime struct {
	cli       *client.Client
	pause     pause.Image
	logConfig map[string]string
	lostAfter time.Duration

	loading sync.Mutex
}

var (
	_ runtime.Runtime        = (*Runtime)(nil)
	_ runtime.Execer         = (*Runtime)(nil)
	_ runtime.Attacher       = (*Runtime)(nil)
	_ runtime.LogReader      = (*Runtime)(nil)
	_ runtime.ImageRemover   = (*Runtime)(nil)
	_ runtime.ImageReader    = (*Runtime)(nil)
	_ runtime.ProgressPuller = (*Runtime)(nil)
	_ runtime.Pinger         = (*Runtime)(nil)
)

// New returns a runtime. It does not connect: the first call does.
func New(cfg Config) (*Runtime, error) {
	opts := []client.Opt{client.WithHostFromEnv(), client.WithTLSClientConfigFromEnv()}
	if cfg.Host != "" {
		opts = []client.Opt{client.WithHost(cfg.Host)}
	}
	cli, err := client.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to the Docker Engine: %w", err)
	}
	image, err := pause.NewImage(goruntime.GOARCH)
	if err != nil {
		return nil, err
	}
	if cfg.LogMaxSize == 0 {
		cfg.LogMaxSize = 10 << 20
	}
	if cfg.LostAfter == 0 {
		cfg.LostAfter = time.Minute
	}
	if cfg.LogMaxFiles == 0 {
		cfg.LogMaxFiles = 5
	}
	return &Runtime{cli: cli, pause: image, lostAfter: cfg.LostAfter, logConfig: map[string]string{
		"max-size": strconv.FormatInt(cfg.LogMaxSize, 10), "max-file": strconv.Itoa(cfg.LogMaxFiles),
	}}, nil
}

// Close ends idle connections.
func (r *Runtime) Close() error { return r.cli.Close() }

// Info implements runtime.Runtime.
func (r *Runtime) Info(ctx context.Context) (runtime.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := r.cli.Info(ctx, client.InfoOptions{})
	if err != nil {
		return runtime.Info{}, wrap("ask the engine who it is", err)
	}
	version, _, _ := strings.Cut(res.Info.ServerVersion, "+")
	cgroups := 1
	if res.Info.CgroupVersion == "2" {
		cgroups = 2
	}
	return runtime.Info{
		Name: "docker", Version: version, OSImage: res.Info.OperatingSystem, Kernel: res.Info.KernelVersion,
		Root: res.Info.DockerRootDir, CgroupVersion: cgroups,
		Handlers: slices.Sorted(maps.Keys(res.Info.Runtimes)),
	}, nil
}

// Ping implements runtime.Pinger.
func (r *Runtime) Ping(ctx context.Context) error {
	_, err := r.cli.Ping(ctx, client.PingOptions{})
	return wrap("ping", err)
}

// loadPause puts the pause image on the engine.
func (r *Runtime) loadPause(ctx context.Context) error {
	r.loading.Lock()
	defer r.loading.Unlock()
	if _, err := r.Image(ctx, r.pause.Name); err == nil {
		return nil
	}
	res, err := r.cli.ImageLoad(ctx, bytes.NewReader(r.pause.Archive), client.ImageLoadWithQuiet(true))
	if err != nil {
		return wrap("load the pause image", err)
	}
	defer res.Close()
	if _, err := io.Copy(io.Discard, res); err != nil {
		return fmt.Errorf("load the pause image: %w", err)
	}
	return nil
}

// wrap adds context and translates the client's errors into the seam's. The engine's own text is kept.
func wrap(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case client.IsErrConnectionFailed(err), nonsense(err):
		return fmt.Errorf("%s: %w: %w", doing, runtime.ErrUnavailable, err)
	case cerrdefs.IsNotFound(err):
		return fmt.Errorf("%s: %w: %w", doing, runtime.ErrNotFound, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// nonsense tells an answer that is cut off, or not what was asked for: it says nothing about containers.
func nonsense(err error) bool {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	return errors.Is(err, errIncomplete) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.As(err, &syntax) || errors.As(err, &kind)
}

// errIncomplete is an answer that lacks what every such answer has.
var errIncomplete = errors.New("the engine's answer is not complete")

// answered tells an engine that refused from one that was not reached.
func answered(err error) bool {
	return !client.IsErrConnectionFailed(err) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// message strips what the engine and its client put before the text that matters.
func message(err error) string {
	return strings.TrimPrefix(err.Error(), "Error response from daemon: ")
}
