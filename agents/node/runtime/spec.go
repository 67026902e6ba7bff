package runtime

// SandboxSpec describes a pod's sandbox.
type SandboxSpec struct {
	Meta
	Hostname    string
	HostNetwork bool
	HostPID     bool
	HostIPC     bool
	Sysctls     map[string]string
	OOMScoreAdj int
}

// ContainerSpec describes a container. Meta.Sandbox is the sandbox that it joins.
type ContainerSpec struct {
	Meta
	Image string
	// Command replaces the image's entrypoint, Args its command. Nil keeps the image's.
	Command, Args []string
	Env           []string
	WorkingDir    string
	// User is "uid", "uid:gid" or empty for the image's own.
	User      string
	Groups    []string
	Stdin     bool
	StdinOnce bool
	Mounts    []Mount
	Resources Resources
	HostPID   bool
	SharePID  bool
	// PIDOf is the ID of a container whose processes this one joins.
	PIDOf           string
	HostIPC         bool
	Privileged      bool
	ReadOnlyRootFS  bool
	NoNewPrivileges bool
	CapAdd, CapDrop []string
	// Seccomp is "", "unconfined" or a profile's JSON.
	Seccomp string
	// AppArmor is a profile's name or empty for the engine's default.
	AppArmor   string
	UnmaskProc bool
	Devices    []Device
}

// Mount binds a host path into a container.
type Mount struct {
	Source   string
	Target   string
	ReadOnly bool
	// Propagation is "private" (also when empty), "rslave" or "rshared".
	Propagation string
}

// Device passes a host's device into a container.
type Device struct{ Source, Target, Permissions string }

// Resources are a container's limits. Zero means none.
type Resources struct {
	CPUShares   int64
	CPUQuota    int64
	CPUPeriod   int64
	MemoryBytes int64
	OOMScoreAdj int
	// Processes bounds the processes and threads at once.
	Processes int64
}
