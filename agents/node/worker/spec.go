package worker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"karve.dev/karve/agents/node/image"
	"karve.dev/karve/agents/node/podfield"
	"karve.dev/karve/agents/node/podstate"
	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/volume"
)

// spec puts together what the engine needs to know about a container.
func (s *starting) spec(ctx context.Context, img runtime.Image, sandbox string) (runtime.ContainerSpec, error) {
	env, err := s.environment()
	if err != nil {
		return runtime.ContainerSpec{}, err
	}
	spec := runtime.ContainerSpec{
		Meta: s.meta(s.pod, s.c.Name, s.Attempt), Image: s.c.Image,
		Command: expandAll(s.c.Command, env), Args: expandAll(s.c.Args, env),
		Env: env.list(), WorkingDir: s.c.WorkingDir,
		Stdin: s.c.Stdin, StdinOnce: s.c.StdinOnce,
		Resources: s.pool.resources(s.pod, s.c),
		HostPID:   s.pod.Spec.HostPID, HostIPC: s.pod.Spec.HostIPC,
		SharePID: s.pod.Spec.ShareProcessNamespace != nil && *s.pod.Spec.ShareProcessNamespace,
	}
	spec.PIDOf = s.target()
	spec.Handler = s.sandboxHandler()
	spec.Sandbox, spec.NextDelay, spec.Hash, spec.TTY = sandbox, s.NextDelay, podstate.Hash(s.c), s.c.TTY
	spec.Amounts, spec.ImageRef = podstate.Amounts(s.c), image.Reference(s.c.Image, img)
	spec.MessagePolicy = string(s.c.TerminationMessagePolicy)
	spec.StopSignal = img.StopSignal
	if s.c.Lifecycle != nil && s.c.Lifecycle.StopSignal != nil {
		spec.StopSignal = string(*s.c.Lifecycle.StopSignal)
	}
	if err := s.secure(ctx, &spec, img); err != nil {
		return spec, err
	}
	if spec.Devices, err = s.devices(); err != nil {
		return spec, err
	}
	spec.Mounts, err = s.mounts(env)
	return spec, err
}

// target is the container whose processes an ephemeral container asks to see.
func (s *starting) target() string {
	for i := range s.pod.Spec.EphemeralContainers {
		if e := &s.pod.Spec.EphemeralContainers[i]; e.Name == s.c.Name && e.TargetContainerName != "" {
			s.worker.mu.Lock()
			defer s.worker.mu.Unlock()
			if c := s.obs.Latest(e.TargetContainerName); c != nil && c.State == runtime.Running {
				return c.ID
			}
		}
	}
	return ""
}

func gracePeriod(pod *corev1.Pod) time.Duration {
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return 30 * time.Second
}

// facts are what downward references may ask for.
func (w *worker) facts() *podfield.Facts {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := &podfield.Facts{HostIPs: w.obs.HostIPs, Allocatable: w.pool.cfg.Allocatable}
	switch {
	case w.pod.Spec.HostNetwork:
		f.PodIPs = w.obs.HostIPs
	case w.obs.Address != "":
		f.PodIPs = []string{w.obs.Address}
	}
	return f
}

// prepareVolumes makes the pod's volumes, once; with again it makes them anew, to refresh them.
func (w *worker) prepareVolumes(ctx context.Context, again bool) error {
	w.preparing.Lock()
	defer w.preparing.Unlock()
	w.mu.Lock()
	pod, done := w.pod, w.prepared != nil && w.prepared.Complete(w.pod)
	w.mu.Unlock()
	if done && !again {
		return nil
	}
	layers, err := w.imageVolumes(ctx, pod)
	var prepared *volume.Prepared
	if err == nil {
		prepared, err = w.pool.cfg.Volumes.Prepare(ctx, pod, w.facts(), layers)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if w.prepared != nil {
			w.prepared.Refresh = time.Now().Add(retryDelay(8)) // what is there stays in use
		}
		return err
	}
	w.prepared = prepared
	return nil
}

// mounts binds the pod's volumes and the agent's own files into the container.
func (s *starting) mounts(env *environment) ([]runtime.Mount, error) {
	prepared := s.volumes()
	taken := map[string]bool{}
	var out []runtime.Mount
	for i, m := range s.c.VolumeMounts {
		source, ok := prepared.Paths[m.Name]
		switch {
		case !ok:
			return nil, fmt.Errorf("volume %q is not one of the pod's", m.Name)
		case prepared.Devices[m.Name]:
			return nil, fmt.Errorf("volume %q has volumeMode Block, but is specified in volumeMounts", m.Name)
		}
		sub := m.SubPath
		if m.SubPathExpr != "" {
			var unknown string
			if sub, unknown = expandKnown(m.SubPathExpr, env); unknown != "" {
				return nil, fmt.Errorf("missing value for %s", unknown)
			}
		}
		place := volume.Place{UID: string(s.uid), Container: s.c.Name, Index: i}
		if sub != "" {
			var err error
			if source, err = s.pool.cfg.Volumes.SubPath(place, source, sub); err != nil {
				return nil, fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", m.Name, s.c.Name, err)
			}
		}
		readOnly := m.ReadOnly || prepared.ReadOnly[m.Name]
		if readOnly && m.RecursiveReadOnly != nil {
			var err error
			if source, err = s.pool.cfg.Volumes.RecursiveReadOnly(place, source, *m.RecursiveReadOnly); err != nil {
				return nil, err
			}
		}
		target := m.MountPath
		if !strings.HasPrefix(target, "/") {
			target = "/" + target
		}
		taken[target] = true
		out = append(out, runtime.Mount{Source: source, Target: target, ReadOnly: readOnly, Propagation: propagation(m.MountPropagation)})
	}
	own, err := s.ownFiles()
	if err != nil {
		return nil, err
	}
	for _, m := range own {
		if !taken[m.Target] {
			out = append(out, m)
		}
	}
	return out, nil
}

func propagation(p *corev1.MountPropagationMode) string {
	if p == nil {
		return ""
	}
	return map[corev1.MountPropagationMode]string{
		corev1.MountPropagationHostToContainer: "rslave", corev1.MountPropagationBidirectional: "rshared",
	}[*p]
}

// sandboxOOMScoreAdj keeps sandboxes alive when memory runs out: without them a pod loses its network.
const sandboxOOMScoreAdj = -998

const cpuPeriod = 100000 // microseconds

// resources translates requests and limits into what the engine enforces.
func (p *Pool) resources(pod *corev1.Pod, c *corev1.Container) runtime.Resources {
	out := runtime.Resources{OOMScoreAdj: max(p.oomScoreAdj(pod, c), p.cfg.MinOOMScoreAdj)}
	limit := limitOf(pod, c, corev1.ResourceCPU)
	cpu := c.Resources.Requests.Cpu().MilliValue()
	if cpu == 0 {
		cpu = limit.MilliValue()
	}
	out.CPUShares = max(cpu*1024/1000, 2)
	if limit := limit.MilliValue(); limit > 0 {
		out.CPUPeriod, out.CPUQuota = cpuPeriod, max(limit*cpuPeriod/1000, 1000)
	}
	memory := limitOf(pod, c, corev1.ResourceMemory)
	out.MemoryBytes, out.Processes = memory.Value(), p.cfg.MaxProcesses
	return out
}

// limitOf is a container's limit: its own, or that of the whole pod.
func limitOf(pod *corev1.Pod, c *corev1.Container, name corev1.ResourceName) resource.Quantity {
	limit := c.Resources.Limits[name]
	if limit.IsZero() && pod.Spec.Resources != nil {
		limit = pod.Spec.Resources.Limits[name]
	}
	return limit
}

// oomScoreAdj ranks containers for when memory runs out, as a kubelet does.
func (p *Pool) oomScoreAdj(pod *corev1.Pod, c *corev1.Container) int {
	switch podstate.QOSClass(pod) {
	case corev1.PodQOSGuaranteed:
		return -997
	case corev1.PodQOSBestEffort:
		return 1000
	}
	capacity := p.cfg.Allocatable.Memory().Value()
	if capacity <= 0 {
		return 999
	}
	score := 1000 - 1000*c.Resources.Requests.Memory().Value()/capacity
	return int(min(max(score, 3), 999))
}

// ownFiles are the files that the agent keeps for each container: hosts, resolv.conf, and the termination message.
func (s *starting) ownFiles() ([]runtime.Mount, error) {
	uid := string(s.uid)
	files := s.pool.cfg.Volumes
	hosts, err := files.File(uid, "etc-hosts", s.hostsFile(), 0o644)
	if err != nil {
		return nil, err
	}
	resolver, _ := s.resolver(s.pod)
	resolv, err := files.File(uid, "resolv.conf", resolver.String(), 0o644)
	if err != nil {
		return nil, err
	}
	out := []runtime.Mount{{Source: hosts, Target: "/etc/hosts"}, {Source: resolv, Target: "/etc/resolv.conf"}}
	path := s.c.TerminationMessagePath
	if path == "" {
		return out, nil
	}
	message, err := files.File(uid, messageFile(s.c.Name, s.Attempt), "", 0o666)
	if err != nil {
		return nil, err
	}
	return append(out, runtime.Mount{Source: message, Target: path}), nil
}

func messageFile(container string, attempt int) string {
	return "message-" + container + "-" + strconv.Itoa(attempt)
}

func zapContainer(name string) zap.Field { return zap.String("container", name) }
func zapError(err error) zap.Field       { return zap.Error(err) }
