package worker

import (
	"context"
	"net/netip"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/agents/node/image"
	"karve.dev/karve/agents/node/loglink"
	"karve.dev/karve/agents/node/network"
	"karve.dev/karve/agents/node/probe"
	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/volume"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/turns"
)

// Network gives sandboxes their addresses and interfaces.
type Network interface {
	// Wait returns when the network is set up.
	Wait(ctx context.Context) error
	// Allocate takes a free address for an owner, a pod's UID. Reserve takes the one that a pod was found with; it is
	// false when that is another's. Release gives an address back.
	Allocate(owner string) (netip.Addr, error)
	Reserve(addr netip.Addr, owner string) bool
	Release(addr netip.Addr, owner string)
	// Attach wires a sandbox; Attached tells whether that has been completed.
	Attach(ctx context.Context, sandbox string, pid int, addr netip.Addr) error
	Attached(sandbox string) bool
	// Detach takes away the wires of a sandbox that has been removed.
	Detach(sandbox string) error
	// Publish makes ports of the machine lead to a pod's address; none takes them back.
	Publish(addr netip.Addr, ports []network.HostPort) error
}

// Objects is what pods refer to, as far as the node knows it.
type Objects interface {
	volume.Objects
	// Services returns those of a namespace that containers are told of.
	Services(namespace string) []*corev1.Service
	// RuntimeClass returns one that a pod names, or nil.
	RuntimeClass(name string) *runtimev1.RuntimeClass
}

// Recorder records events about objects and about parts of them. It never blocks.
type Recorder interface {
	Event(obj client.Object, eventType, reason, format string, args ...any)
	EventOn(ref corev1.ObjectReference, eventType, reason, format string, args ...any)
}

// Reporter takes pods' statuses. It never blocks.
type Reporter interface {
	// Report hands over a pod's newest status; terminated is true when nothing of a deleted pod is left.
	Report(pod types.NamespacedName, uid types.UID, status *corev1.PodStatus, terminated bool)
}

// DNS is what pods' resolv.conf says; without servers they use the host's.
type DNS struct {
	Servers []string
	Domain  string
}

// Config is what workers work with.
type Config struct {
	// Turns is what workers run in. What they do ends with it; containers keep running.
	Turns    *turns.Group
	Owner    runtime.Owner
	Runtime  runtime.Runtime
	Network  Network
	Images   *image.Manager
	Volumes  *volume.Manager
	Probes   *probe.Manager
	Objects  Objects
	Reporter Reporter
	Events   Recorder
	Log      *zap.Logger
	DNS      DNS
	HostIPs  []string
	// APIService is the address at which pods reach the API ("10.96.0.1"); empty when they are not told.
	APIService  string
	Allocatable corev1.ResourceList
	// Node returns the node's object, nil while it is not known. UnsafeSysctls are what pods may set besides what is safe.
	Node          func() *corev1.Node
	UnsafeSysctls []string
	// AppArmor is whether the kernel has it.
	AppArmor bool
	// Sleep has quiet pods forgotten until something is to be done. It is for runtimes whose List costs nothing.
	Sleep bool
	// Started is told how long each pod took from SetPod to the report that it runs.
	Started func(time.Duration)
	// Parallel bounds the creations and starts that the engine works on at once.
	Parallel int
	// MaxProcesses bounds the processes and threads of a container; 0: only the machine does.
	MaxProcesses int64
	// MinOOMScoreAdj is the lowest oom_score_adj that this machine lets containers have.
	MinOOMScoreAdj int
	// RegistryAuth is a file with logins for registries that all pods may use; empty: there is none.
	RegistryAuth string
	// Logs is where logs are linked to.
	Logs loglink.Dir
	// SeccompRoot is where Localhost seccomp profiles are read from.
	SeccompRoot string
}
