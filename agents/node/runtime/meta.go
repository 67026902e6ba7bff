package runtime

import (
	"fmt"
	"strconv"
	"time"
)

// Labels that everything the agent makes carries, so that its state is rebuilt from the engine alone.
const (
	LabelCluster   = "karve.dev/cluster"
	LabelNode      = "karve.dev/node"
	LabelNamespace = "karve.dev/pod-namespace"
	LabelPod       = "karve.dev/pod-name"
	LabelUID       = "karve.dev/pod-uid"
	LabelContainer = "karve.dev/container"
	LabelAttempt   = "karve.dev/attempt"
	LabelAddress   = "karve.dev/address"
	LabelSandbox   = "karve.dev/sandbox"
	LabelGrace     = "karve.dev/grace-seconds"
	LabelNextDelay = "karve.dev/next-delay-seconds"
	LabelHash      = "karve.dev/spec-hash"
	LabelTTY       = "karve.dev/tty"
	LabelSignal    = "karve.dev/stop-signal"
	LabelPolicy    = "karve.dev/termination-message-policy"
	LabelAmounts   = "karve.dev/resources"
	LabelHandler   = "karve.dev/runtime-handler"
	LabelImageRef  = "karve.dev/image-digest"
)

// SandboxName stands where a container's name would, for sandboxes. No container can have it: it is upper case.
const SandboxName = "POD"

// Meta is what the agent knows about a container that it made. It travels in the container's labels.
type Meta struct {
	Owner     Owner
	Namespace string
	Pod       string
	UID       string
	// Container is the container's name in the pod; SandboxName for the sandbox.
	Container string
	// Attempt counts the containers of this name in this pod, from 0; it is the restart count.
	Attempt int
	// Address is the pod's address; only a sandbox has one, and none on the host's network.
	Address string
	// Handler is which of the engine's runtimes runs the container; empty for its default. It is the sandbox's.
	Handler string
	// Sandbox is the ID of the sandbox that a container joined.
	Sandbox string
	// Grace is how long the container may take to end; needed when its pod is no longer known.
	Grace time.Duration
	// NextDelay is how long to wait, after this container has ended, before the next attempt.
	NextDelay time.Duration
	// Hash is the digest of what cannot be changed in a running container.
	Hash string
	// Amounts is what the container was made to use of what can be changed while it runs.
	Amounts string
	// ImageRef names what was pulled for the container, by its digest; empty for an image that no registry has.
	ImageRef string
	// StopSignal asks the container to end; SIGTERM when empty.
	StopSignal string
	// TTY is true when the container has a terminal.
	TTY bool
	// MessagePolicy is where the termination message is looked for: "File" or "FallbackToLogsOnError".
	MessagePolicy string
}

// IsSandbox tells a sandbox from a container.
func (m Meta) IsSandbox() bool { return m.Container == SandboxName }

// Labels returns the labels that carry m.
func (m Meta) Labels() map[string]string {
	labels := map[string]string{
		LabelCluster:   m.Owner.Cluster,
		LabelNode:      m.Owner.Node,
		LabelNamespace: m.Namespace,
		LabelPod:       m.Pod,
		LabelUID:       m.UID,
		LabelContainer: m.Container,
		LabelAttempt:   strconv.Itoa(m.Attempt),
	}
	for key, value := range map[string]string{
		LabelAddress: m.Address, LabelSandbox: m.Sandbox, LabelHash: m.Hash, LabelPolicy: m.MessagePolicy, LabelSignal: m.StopSignal,
		LabelGrace: seconds(m.Grace), LabelNextDelay: seconds(m.NextDelay), LabelTTY: yes(m.TTY),
		LabelAmounts: m.Amounts, LabelHandler: m.Handler, LabelImageRef: m.ImageRef,
	} {
		if value != "" {
			labels[key] = value
		}
	}
	return labels
}

func seconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return strconv.FormatInt(int64(d/time.Second), 10)
}

func yes(b bool) string {
	if b {
		return "true"
	}
	return ""
}

// ParseMeta reads labels back; ok is false when they are not the agent's.
func ParseMeta(labels map[string]string) (m Meta, ok bool) {
	attempt, err := strconv.Atoi(labels[LabelAttempt])
	if err != nil || labels[LabelUID] == "" || labels[LabelContainer] == "" {
		return Meta{}, false
	}
	duration := func(key string) time.Duration {
		n, _ := strconv.ParseInt(labels[key], 10, 64)
		return time.Duration(n) * time.Second
	}
	return Meta{
		Owner:     Owner{Cluster: labels[LabelCluster], Node: labels[LabelNode]},
		Namespace: labels[LabelNamespace], Pod: labels[LabelPod], UID: labels[LabelUID],
		Container: labels[LabelContainer], Attempt: attempt,
		Address: labels[LabelAddress], Handler: labels[LabelHandler], Sandbox: labels[LabelSandbox], Hash: labels[LabelHash], Amounts: labels[LabelAmounts],
		ImageRef: labels[LabelImageRef],
		Grace:    duration(LabelGrace), NextDelay: duration(LabelNextDelay),
		TTY: labels[LabelTTY] == "true", MessagePolicy: labels[LabelPolicy], StopSignal: labels[LabelSignal],
	}, true
}

// ContainerName is the engine's name of a container: unique, and readable in `docker ps`.
func (m Meta) ContainerName() string {
	uid := m.UID
	if len(uid) > 8 {
		uid = uid[:8]
	}
	return fmt.Sprintf("karve_%s_%s_%s_%s_%s_%s_%d", m.Owner.Cluster, m.Owner.Node, m.Container, m.Pod, m.Namespace, uid, m.Attempt)
}
