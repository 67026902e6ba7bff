package cluster

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"
)

// Upkeep is how the nodes of a machine keep it usable. What is zero has a kubelet's default.
type Upkeep struct {
	// EvictionHard and EvictionSoft are thresholds in the form of a kubelet's flags: "memory.available<100Mi,nodefs.available<10%".
	// EvictionSoftGrace says how long each soft one is borne: "memory.available=1m30s".
	EvictionHard      string `json:"evictionHard,omitempty"`
	EvictionSoft      string `json:"evictionSoft,omitempty"`
	EvictionSoftGrace string `json:"evictionSoftGracePeriod,omitempty"`
	// EvictionMaxPodGrace bounds, in seconds, the time that pods have after a soft threshold.
	EvictionMaxPodGrace int `json:"evictionMaxPodGracePeriod,omitempty"`
	// ImageGCHigh and ImageGCLow are percentages of the disk: above the high one, images are removed until the low one.
	ImageGCHigh int `json:"imageGCHighThreshold,omitempty"`
	ImageGCLow  int `json:"imageGCLowThreshold,omitempty"`
	// MaxProcesses bounds the processes and threads of each container; negative: no bound.
	MaxProcesses int `json:"podPidsLimit,omitempty"`
	// ShutdownGrace is how long pods have when the machine goes down, ShutdownGraceCritical what of it is for critical ones.
	ShutdownGrace         Duration `json:"shutdownGracePeriod,omitzero"`
	ShutdownGraceCritical Duration `json:"shutdownGracePeriodCriticalPods,omitzero"`
	// UnsafeSysctls are kernel parameters that pods may set besides the safe ones: "kernel.msg*,net.core.somaxconn".
	UnsafeSysctls string `json:"allowedUnsafeSysctls,omitempty"`
	// RegistryAuth is a file with logins for registries, as docker login writes it.
	RegistryAuth string `json:"registryAuth,omitempty"`
}

// DefaultShutdownGrace is how long pods have when the machine goes down and nobody says.
const DefaultShutdownGrace = 30 * time.Second

// Duration is a time.Duration that is written as people do: "30s".
type Duration struct{ time.Duration }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	d.Duration, err = time.ParseDuration(string(text))
	return err
}

// upkeepFlags are the settings with their flags, which have the names that a kubelet gives them.
var upkeepFlags = []struct {
	name, usage string
	field       func(u *Upkeep) any
}{
	{"eviction-hard", "what must be free, or pods are evicted at once (default memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%,pid.available<5%)", func(u *Upkeep) any { return &u.EvictionHard }},
	{"eviction-soft", "what should be free, or pods are evicted after a while", func(u *Upkeep) any { return &u.EvictionSoft }},
	{"eviction-soft-grace-period", "after which while, as in memory.available=1m30s", func(u *Upkeep) any { return &u.EvictionSoftGrace }},
	{"eviction-max-pod-grace-period", "seconds that pods have to end then, at most", func(u *Upkeep) any { return &u.EvictionMaxPodGrace }},
	{"image-gc-high-threshold", "percentage of the disk in use at which images that were pulled for pods are removed; 100: never (default 85)", func(u *Upkeep) any { return &u.ImageGCHigh }},
	{"image-gc-low-threshold", "percentage down to which they are removed (default 80)", func(u *Upkeep) any { return &u.ImageGCLow }},
	{"pod-pids-limit", "processes and threads that each container may have at once; -1: any number (default 4096, or a quarter of what the machine can have)", func(u *Upkeep) any { return &u.MaxProcesses }},
	{"shutdown-grace-period", "how long pods have to end when the machine goes down (default 30s)", func(u *Upkeep) any { return &u.ShutdownGrace.Duration }},
	{"shutdown-grace-period-critical-pods", "what of that is for critical pods (default 10s)", func(u *Upkeep) any { return &u.ShutdownGraceCritical.Duration }},
	{"allowed-unsafe-sysctls", "kernel parameters that pods may set besides the safe ones, as in kernel.msg*,net.core.somaxconn (default none)", func(u *Upkeep) any { return &u.UnsafeSysctls }},
	{"registry-auth", "file with logins for registries, as docker login writes it (default config.json in the data directory)", func(u *Upkeep) any { return &u.RegistryAuth }},
}

// UpkeepFlags are the flags for Upkeep of a command.
type UpkeepFlags struct {
	set   *pflag.FlagSet
	given Upkeep
}

// NewUpkeepFlags adds the flags to a command's.
func NewUpkeepFlags(set *pflag.FlagSet) *UpkeepFlags {
	f := &UpkeepFlags{set: set}
	for _, flag := range upkeepFlags {
		switch field := flag.field(&f.given).(type) {
		case *string:
			set.StringVar(field, flag.name, "", flag.usage)
		case *int:
			set.IntVar(field, flag.name, 0, flag.usage)
		case *time.Duration:
			set.DurationVar(field, flag.name, 0, flag.usage)
		}
	}
	return f
}

// Changed returns the names of the flags that were given.
func (f *UpkeepFlags) Changed() []string {
	var out []string
	for _, flag := range upkeepFlags {
		if f.set.Changed(flag.name) {
			out = append(out, flag.name)
		}
	}
	return out
}

// Apply changes the settings whose flags were given.
func (f *UpkeepFlags) Apply(to *Upkeep) error {
	for _, flag := range upkeepFlags {
		if !f.set.Changed(flag.name) {
			continue
		}
		switch from := flag.field(&f.given).(type) {
		case *string:
			*flag.field(to).(*string) = *from
		case *int:
			*flag.field(to).(*int) = *from
		case *time.Duration:
			*flag.field(to).(*time.Duration) = *from
		}
	}
	return to.Validate()
}

// Validate says what is wrong with the settings, in words for the person who gave them.
func (u *Upkeep) Validate() error {
	switch {
	case u.ShutdownGrace.Duration < 0 || u.ShutdownGraceCritical.Duration < 0 || u.EvictionMaxPodGrace < 0:
		return fmt.Errorf("grace periods are at least 0")
	case u.ShutdownGrace.Duration > 0 && u.ShutdownGraceCritical.Duration > u.ShutdownGrace.Duration:
		return fmt.Errorf("--shutdown-grace-period-critical-pods is a part of --shutdown-grace-period: it cannot be longer")
	}
	return nil
}
