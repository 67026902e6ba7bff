// Package runtime is the seam between the node agent and what runs containers. Two implementations stand behind it:
// docker (the Docker Engine of the machine) and simulated (in memory, for tests of thousands of nodes). The suite in
// runtimetest is their common contract.
package runtime

import (
	"context"
	"errors"
	"io"
	"time"
)

// ErrNotFound is returned for a container or image that does not exist.
var ErrNotFound = errors.New("not found")

// ErrUnavailable is returned when the engine cannot be reached at all. Callers wait and try again.
var ErrUnavailable = errors.New("container engine unavailable")

// Owner says whose containers are meant: one engine may carry several nodes of several clusters.
type Owner struct {
	Cluster string
	Node    string
}

// Runtime runs containers. All verbs are idempotent and safe for concurrent use; every call is bounded by its context.
// A sandbox is a container too: the one that holds a pod's namespaces while nothing else runs in them.
type Runtime interface {
	// Info describes the engine. It fails with ErrUnavailable when the engine does not answer.
	Info(ctx context.Context) (Info, error)
	// List returns the owner's containers, dead ones included, with their full state.
	List(ctx context.Context, owner Owner) ([]Container, error)
	// Inspect returns one container's full state, or ErrNotFound.
	Inspect(ctx context.Context, id string) (Container, error)
	// CreateSandbox makes a pod's sandbox without starting it and returns its ID. An equal one left by an earlier
	// attempt is taken over.
	CreateSandbox(ctx context.Context, spec SandboxSpec) (string, error)
	// CreateContainer makes a container that joins a sandbox, without starting it. The sandbox need not run yet.
	CreateContainer(ctx context.Context, spec ContainerSpec) (string, error)
	// Start starts what was created and returns its state. A StartError says that the container itself is at fault.
	Start(ctx context.Context, id string) (Container, error)
	// Signal sends a signal ("SIGTERM") to the container's first process. Nothing happens when it has ended.
	Signal(ctx context.Context, id, signal string) error
	// Remove kills and removes a container. Nothing happens when it is gone.
	Remove(ctx context.Context, id string) error
	// Watch calls handle for every change to the owner's containers and to images, from after it has called ready
	// until it fails or ctx ends. handle must not block.
	Watch(ctx context.Context, owner Owner, ready func(), handle func(Event)) error
	// Image returns the image that a reference names on the engine, or ErrNotFound.
	Image(ctx context.Context, ref string) (Image, error)
	// Images lists the engine's images.
	Images(ctx context.Context) ([]Image, error)
	// Pull fetches an image from its registry.
	Pull(ctx context.Context, ref string, auth *Credentials) error
}

// Execer runs commands inside running containers. Optional.
type Execer interface {
	// Exec runs a command and returns its exit code when it has ended and its output is drained.
	Exec(ctx context.Context, id string, spec ExecSpec, streams Streams) (int, error)
}

// Attacher joins the streams of a container's first process. Optional.
type Attacher interface {
	// Attach copies streams until the container ends or ctx is done.
	Attach(ctx context.Context, id string, tty bool, streams Streams) error
}

// LogReader reads what containers wrote. Optional.
type LogReader interface {
	// Logs copies the container's output to stdout and stderr; either may be nil. With Follow it returns when the
	// container has ended.
	Logs(ctx context.Context, id string, opts LogOptions, stdout, stderr io.Writer) error
}

// Progress is told how many bytes of how many are there; the total grows while more is found out. It must not block.
type Progress func(done, total int64)

// ProgressPuller tells how a pull gets on. Optional.
type ProgressPuller interface {
	// PullTelling is Pull, with progress now and then.
	PullTelling(ctx context.Context, ref string, auth *Credentials, progress Progress) error
}

// Resizer changes what running containers may use. Optional.
type Resizer interface {
	// Resize sets cpu and memory; OOMScoreAdj stays.
	Resize(ctx context.Context, id string, r Resources) error
}

// ImageRemover removes images. Optional.
type ImageRemover interface {
	// RemoveImage takes a name away from its image, or removes the image of an ID; with its last name an image goes. It
	// fails for one that a container uses, and with ErrNotFound for one that is not there.
	RemoveImage(ctx context.Context, ref string) error
}

// ImageReader reads what lies in images. Optional.
type ImageReader interface {
	// ReadImage returns the contents of files of an image, up to a mebibyte of each; nil for those that it does not have.
	ReadImage(ctx context.Context, owner Owner, image string, files ...string) (map[string][]byte, error)
}

// Pinger tells whether the engine lives. Optional.
type Pinger interface {
	// Ping fails when the engine does not answer until ctx ends, or answers that it is unwell.
	Ping(ctx context.Context) error
}

// Simulation is a runtime that only pretends: it has no processes, so nothing is wired for them. Optional.
type Simulation interface{ Simulated() }

// Info describes an engine.
type Info struct {
	// Name and Version as in nodeInfo.containerRuntimeVersion: "docker" and "20.10.24".
	Name, Version string
	OSImage       string
	Kernel        string
	// Root is the folder where the engine keeps images and containers; empty when unknown.
	Root string
	// CgroupVersion is 1 or 2.
	CgroupVersion int
	// Handlers are the names of the runtimes that it can run containers with, sorted.
	Handlers []string
}

// State is where a container is in its life.
type State string

// The states of a container. A container that failed to start is Exited, with Error set.
const (
	Created State = "created"
	Running State = "running"
	Exited  State = "exited"
)

// Container is the observed state of one container or sandbox.
type Container struct {
	Meta
	ID         string
	State      State
	PID        int
	Image      string
	ImageID    string
	CreatedAt  time.Time
	StartedAt  time.Time
	FinishedAt time.Time
	ExitCode   int32
	OOMKilled  bool
	// Error is why the container could not be started.
	Error string
	// Message is its termination message.
	Message string
	// Log is the file with what it has written, where the engine keeps one.
	Log string
	// Removed is true when it is no longer on the engine and only the memory of it is left.
	Removed bool
}

// StartError is a failure to start that lies in the container (a command that does not exist, a mount that fails).
type StartError struct{ Message string }

func (e *StartError) Error() string { return e.Message }

// EventKind says what happened.
type EventKind int

// The kinds of events.
const (
	// Those of containers carry the container's ID and Meta.
	ContainerCreated EventKind = iota
	ContainerStarted
	ContainerEnded
	ContainerRemoved
	// ContainerOOM tells that the kernel has killed a process of the container for want of memory. It may come after the end.
	ContainerOOM
	// ImageChanged carries the image's name or ID: it was built, tagged, pulled, loaded or removed.
	ImageChanged
)

// Event is one change on the engine.
type Event struct {
	Kind  EventKind
	ID    string
	Meta  Meta
	Image string
}

// Image is an image on the engine.
type Image struct {
	ID      string
	Names   []string
	Digests []string
	Size    int64
	// User is the image's own user, as written in it.
	User string
	// StopSignal is the image's own, if any.
	StopSignal string
	// Volumes are folders that the image declares as volumes.
	Volumes []string
	// Layers are the folders on the machine that hold the image's files, the topmost first; none where the engine keeps
	// them in another way. Only Runtime.Image tells.
	Layers []string
}

// Credentials log in to a registry.
type Credentials struct {
	Username, Password, ServerAddress, IdentityToken, RegistryToken string
}

// ExecSpec is a command to run in a container.
type ExecSpec struct {
	Command []string
	TTY     bool
	// End kills the command when the context ends first: nobody else would.
	End bool
}

// Streams are the ends of a session. Nil streams are not attached.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Resize delivers terminal sizes until it is closed; nil without a terminal.
	Resize <-chan Size
}

// Size is a terminal's size.
type Size struct{ Width, Height uint }

// LogOptions choose what Logs returns.
type LogOptions struct {
	Follow     bool
	Timestamps bool
	// Tail is the number of last lines; negative for all.
	Tail  int64
	Since time.Time
	// TTY is true for a container with a terminal: its output is one stream.
	TTY bool
}
