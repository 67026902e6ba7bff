package docker

import (
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"karve.dev/karve/agents/node/runtime"
)

func (r *Runtime) sandboxConfig(spec runtime.SandboxSpec) (*container.Config, *container.HostConfig) {
	config := &container.Config{
		Image: r.pause.Name, Hostname: spec.Hostname, Labels: spec.Labels(),
		// The sandbox gets a network namespace, but the engine does nothing in it: that halves the time of its start
		// (network mode "none" makes the engine run a copy of itself in a hook, and write to its database).
		NetworkDisabled: true,
	}
	host := &container.HostConfig{
		IpcMode:     container.IPCModeShareable,
		LogConfig:   container.LogConfig{Type: "none"},
		Runtime:     spec.Handler,
		SecurityOpt: []string{"no-new-privileges"},
		OomScoreAdj: spec.OOMScoreAdj,
		Sysctls:     spec.Sysctls,
		Resources:   container.Resources{CPUShares: 2},
	}
	if spec.HostNetwork {
		host.NetworkMode = "host"
		config.Hostname, config.NetworkDisabled = "", false // the host's own
	}
	if spec.HostIPC {
		host.IpcMode = container.IPCModeHost
	}
	if spec.HostPID {
		host.PidMode = "host"
	}
	return config, host
}

func (r *Runtime) containerConfig(spec runtime.ContainerSpec) (*container.Config, *container.HostConfig) {
	config := &container.Config{
		Image: spec.Image, Entrypoint: spec.Command, Cmd: spec.Args, Env: spec.Env, WorkingDir: spec.WorkingDir,
		User: spec.User, Tty: spec.TTY, OpenStdin: spec.Stdin, StdinOnce: spec.StdinOnce, StopSignal: spec.StopSignal,
		Labels: spec.Labels(),
		// Probes say whether a container is healthy, not the image.
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
	}
	joined := "container:" + spec.Sandbox
	host := &container.HostConfig{
		NetworkMode: container.NetworkMode(joined), IpcMode: container.IpcMode(joined),
		LogConfig:      container.LogConfig{Type: logDriver, Config: r.logConfig},
		GroupAdd:       spec.Groups,
		Privileged:     spec.Privileged,
		Runtime:        spec.Handler,
		ReadonlyRootfs: spec.ReadOnlyRootFS,
		CapAdd:         spec.CapAdd,
		CapDrop:        spec.CapDrop,
		SecurityOpt:    securityOptions(spec),
		OomScoreAdj:    spec.Resources.OOMScoreAdj,
		Mounts:         mounts(spec.Mounts),
		Resources:      limits(spec.Resources),
	}
	host.Devices = devices(spec.Devices)
	switch {
	case spec.PIDOf != "":
		host.PidMode = container.PidMode("container:" + spec.PIDOf)
	case spec.HostPID:
		host.PidMode = "host"
	case spec.SharePID:
		host.PidMode = container.PidMode(joined)
	}
	if spec.HostIPC {
		host.IpcMode = container.IPCModeHost
	}
	if spec.UnmaskProc {
		host.MaskedPaths, host.ReadonlyPaths = []string{}, []string{}
	}
	return config, host
}

func limits(r runtime.Resources) container.Resources {
	var processes *int64
	if r.Processes > 0 {
		processes = &r.Processes
	}
	return container.Resources{
		PidsLimit: processes,
		CPUShares: r.CPUShares, CPUPeriod: r.CPUPeriod, CPUQuota: r.CPUQuota,
		// No swap beyond the limit, as on a kubelet.
		Memory: r.MemoryBytes, MemorySwap: r.MemoryBytes,
	}
}

func securityOptions(spec runtime.ContainerSpec) []string {
	var opts []string
	if spec.NoNewPrivileges {
		opts = append(opts, "no-new-privileges")
	}
	if spec.Seccomp != "" {
		opts = append(opts, "seccomp="+spec.Seccomp)
	}
	if spec.AppArmor != "" {
		opts = append(opts, "apparmor="+spec.AppArmor)
	}
	return opts
}

func mounts(specs []runtime.Mount) []mount.Mount {
	out := make([]mount.Mount, 0, len(specs))
	for _, m := range specs {
		// Private is what the engine takes when nothing is said, but for what holds its own folder, as "/" does: there
		// it takes, and insists on, rslave.
		propagation := mount.Propagation("")
		if m.Propagation != "" && m.Propagation != "private" {
			propagation = mount.Propagation(m.Propagation)
		}
		out = append(out, mount.Mount{
			Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly,
			BindOptions: &mount.BindOptions{Propagation: propagation},
		})
	}
	return out
}

func devices(specs []runtime.Device) []container.DeviceMapping {
	var out []container.DeviceMapping
	for _, d := range specs {
		out = append(out, container.DeviceMapping{PathOnHost: d.Source, PathInContainer: d.Target, CgroupPermissions: d.Permissions})
	}
	return out
}
