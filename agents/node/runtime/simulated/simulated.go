// Package simulated pretends to run containers, in memory: for control planes with thousands of nodes on one machine.
// Containers run until they are told to end; every image is there.
package simulated

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"karve.dev/karve/agents/node/runtime"
)

// Missing begins the names of images that are not there, for tests of that.
const Missing = "karve-no-such-image"

// Runtime is a runtime.Runtime in memory. One serves any number of nodes.
type Runtime struct {
	mu      sync.Mutex
	counter uint64
	byID    map[string]*held
	images  map[string]string // the IDs of those that were named, by name
	nodes   map[runtime.Owner]*owned
}

// owned is what belongs to one node.
type owned struct {
	containers []*held
	watchers   map[*watcher]struct{}
}

// held is a container as it is kept: without what one that is pretended never has.
type held struct {
	runtime.Meta
	id, image                  string
	state                      runtime.State
	exitCode                   int32
	created, started, finished int64 // in nanoseconds since 1970; 0 for never
}

func moment(at int64) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(0, at)
}

// show is the container as others know it. mu must be held.
func (r *Runtime) show(c *held) runtime.Container {
	return runtime.Container{
		Meta: c.Meta, ID: c.id, State: c.state, Image: c.image, ImageID: r.imageID(c.image), ExitCode: c.exitCode,
		CreatedAt: moment(c.created), StartedAt: moment(c.started), FinishedAt: moment(c.finished),
	}
}

var (
	_ runtime.Runtime    = (*Runtime)(nil)
	_ runtime.Simulation = (*Runtime)(nil)
)

// New returns an engine without containers.
func New() *Runtime {
	return &Runtime{byID: map[string]*held{}, images: map[string]string{}, nodes: map[runtime.Owner]*owned{}}
}

// Simulated implements runtime.Simulation.
func (r *Runtime) Simulated() {}

// Info implements runtime.Runtime.
func (r *Runtime) Info(context.Context) (runtime.Info, error) {
	return runtime.Info{Name: "simulated", Version: "1", CgroupVersion: 2}, nil
}

func (r *Runtime) node(owner runtime.Owner) *owned {
	n := r.nodes[owner]
	if n == nil {
		n = &owned{watchers: map[*watcher]struct{}{}}
		r.nodes[owner] = n
	}
	return n
}

// List implements runtime.Runtime.
func (r *Runtime) List(_ context.Context, owner runtime.Owner) ([]runtime.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []runtime.Container
	for _, c := range r.node(owner).containers {
		out = append(out, r.show(c))
	}
	return out, nil
}

func (r *Runtime) find(id string) (*held, error) {
	if c := r.byID[id]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
}

// Inspect implements runtime.Runtime.
func (r *Runtime) Inspect(_ context.Context, id string) (runtime.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.find(id)
	if err != nil {
		return runtime.Container{}, err
	}
	return r.show(c), nil
}

// CreateSandbox implements runtime.Runtime.
func (r *Runtime) CreateSandbox(_ context.Context, spec runtime.SandboxSpec) (string, error) {
	return r.create(spec.Meta, "pause"), nil
}

// CreateContainer implements runtime.Runtime.
func (r *Runtime) CreateContainer(_ context.Context, spec runtime.ContainerSpec) (string, error) {
	return r.create(spec.Meta, spec.Image), nil
}

func (r *Runtime) create(meta runtime.Meta, image string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.node(meta.Owner)
	if i := slices.IndexFunc(n.containers, func(c *held) bool { return same(&c.Meta, &meta) }); i >= 0 {
		old := n.containers[i]
		if old.state == runtime.Running {
			return old.id
		}
		r.remove(old)
	}
	r.counter++
	c := &held{Meta: meta, id: "simulated-" + strconv.FormatUint(r.counter, 10), state: runtime.Created, image: image, created: time.Now().UnixNano()}
	n.containers, r.byID[c.id] = append(n.containers, c), c
	r.tell(runtime.ContainerCreated, c)
	return c.id
}

// same tells whether two containers of a node would have one name.
func same(a, b *runtime.Meta) bool {
	return a.UID == b.UID && a.Container == b.Container && a.Attempt == b.Attempt
}

// imageID makes up an image's ID. mu must be held.
func (r *Runtime) imageID(name string) string {
	if r.images[name] == "" {
		h := fnv.New64a()
		_, _ = h.Write([]byte(name))
		r.images[name] = fmt.Sprintf("sha256:%064x", h.Sum64())
	}
	return r.images[name]
}

// Start implements runtime.Runtime.
func (r *Runtime) Start(_ context.Context, id string) (runtime.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.find(id)
	if err != nil {
		return runtime.Container{}, err
	}
	if c.state != runtime.Running {
		c.state, c.started = runtime.Running, time.Now().UnixNano()
		r.tell(runtime.ContainerStarted, c)
	}
	return r.show(c), nil
}

// exitCodes are what processes end with that do not handle a signal; with any other they live on.
var exitCodes = map[string]int32{"SIGTERM": 0, "SIGINT": 0, "SIGQUIT": 0, "SIGKILL": 137}

// Signal implements runtime.Runtime.
func (r *Runtime) Signal(_ context.Context, id, signal string) error {
	if code, deadly := exitCodes[signal]; deadly {
		r.Exit(id, code)
	}
	return nil
}

// Resize implements runtime.Resizer.
func (r *Runtime) Resize(_ context.Context, id string, _ runtime.Resources) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID[id] == nil {
		return runtime.ErrNotFound
	}
	return nil
}

// Exit ends a container as if its process had ended by itself.
func (r *Runtime) Exit(id string, code int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.byID[id]; c != nil {
		r.end(c, code)
	}
}

func (r *Runtime) end(c *held, code int32) {
	if c.state == runtime.Running {
		c.state, c.exitCode, c.finished = runtime.Exited, code, time.Now().UnixNano()
		r.tell(runtime.ContainerEnded, c)
	}
}

// Remove implements runtime.Runtime.
func (r *Runtime) Remove(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.byID[id]; c != nil {
		r.end(c, exitCodes["SIGKILL"])
		r.remove(c)
	}
	return nil
}

func (r *Runtime) remove(c *held) {
	delete(r.byID, c.id)
	n := r.node(c.Owner)
	n.containers = slices.DeleteFunc(n.containers, func(o *held) bool { return o == c })
	r.tell(runtime.ContainerRemoved, c)
}

// watcher takes events without ever holding up who tells them.
type watcher struct {
	mu      sync.Mutex
	pending []runtime.Event
	wake    chan struct{}
}

func (r *Runtime) tell(kind runtime.EventKind, c *held) {
	for w := range r.node(c.Owner).watchers {
		w.mu.Lock()
		w.pending = append(w.pending, runtime.Event{Kind: kind, ID: c.id, Meta: c.Meta})
		w.mu.Unlock()
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Watch implements runtime.Runtime.
func (r *Runtime) Watch(ctx context.Context, owner runtime.Owner, ready func(), handle func(runtime.Event)) error {
	w := &watcher{wake: make(chan struct{}, 1)}
	r.mu.Lock()
	r.node(owner).watchers[w] = struct{}{}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.node(owner).watchers, w)
		r.mu.Unlock()
	}()
	ready()
	for {
		select {
		case <-w.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		w.mu.Lock()
		events := w.pending
		w.pending = nil
		w.mu.Unlock()
		for _, ev := range events {
			handle(ev)
		}
	}
}

// Image implements runtime.Runtime.
func (r *Runtime) Image(_ context.Context, ref string) (runtime.Image, error) {
	if strings.HasPrefix(ref, Missing) {
		return runtime.Image{}, fmt.Errorf("image %s: %w", ref, runtime.ErrNotFound)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return runtime.Image{ID: r.imageID(ref), Names: []string{ref}}, nil
}

// Images implements runtime.Runtime.
func (r *Runtime) Images(context.Context) ([]runtime.Image, error) { return nil, nil }

// Pull implements runtime.Runtime.
func (r *Runtime) Pull(_ context.Context, ref string, _ *runtime.Credentials) error {
	if strings.HasPrefix(ref, Missing) {
		return fmt.Errorf("manifest for %s not found", ref)
	}
	return nil
}
