// Package eviction decides when a machine runs short of something, what its node then says of itself, and which pod has
// to go. It is pure: figures and the time go in, decisions come out.
package eviction

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"karve.dev/karve/agents/node/machine"
)

// Signal is something that a machine may run short of.
type Signal string

// The signals, by the names that a kubelet's configuration has for them.
const (
	MemoryAvailable   Signal = "memory.available"
	NodeDiskAvailable Signal = "nodefs.available"
	NodeInodesFree    Signal = "nodefs.inodesFree"
	ImageAvailable    Signal = "imagefs.available"
	ImageInodesFree   Signal = "imagefs.inodesFree"
	PIDAvailable      Signal = "pid.available"
)

// Observation is how much there is, and how much there could be.
type Observation struct{ Available, Capacity int64 }

// signal is what is known of one.
type signal struct {
	Signal
	condition corev1.NodeConditionType
	// resource is what is low, as events and messages call it.
	resource corev1.ResourceName
	format   resource.Format
	observe  func(*machine.Figures) Observation
}

// signals are all of them, in the order in which a shortage is dealt with: what is short of memory may not live to see
// the rest done.
var signals = []signal{
	{MemoryAvailable, corev1.NodeMemoryPressure, corev1.ResourceMemory, resource.BinarySI, func(f *machine.Figures) Observation { return Observation{f.MemoryFree, f.Memory} }},
	{PIDAvailable, corev1.NodePIDPressure, "pids", resource.DecimalSI, func(f *machine.Figures) Observation { return Observation{f.MaxProcesses - f.Processes, f.MaxProcesses} }},
	{NodeDiskAvailable, corev1.NodeDiskPressure, corev1.ResourceEphemeralStorage, resource.BinarySI, func(f *machine.Figures) Observation { return Observation{f.NodeDisk.Free, f.NodeDisk.Total} }},
	{NodeInodesFree, corev1.NodeDiskPressure, "inodes", resource.DecimalSI, func(f *machine.Figures) Observation {
		return Observation{f.NodeDisk.InodesFree, f.NodeDisk.Inodes}
	}},
	{ImageAvailable, corev1.NodeDiskPressure, corev1.ResourceEphemeralStorage, resource.BinarySI, func(f *machine.Figures) Observation { return ofImages(f, f.ImageDisk.Free, f.ImageDisk.Total) }},
	{ImageInodesFree, corev1.NodeDiskPressure, "inodes", resource.DecimalSI, func(f *machine.Figures) Observation {
		return ofImages(f, f.ImageDisk.InodesFree, f.ImageDisk.Inodes)
	}},
}

// ofImages tells of the engine's file system where it is one of its own. Where it is the node's, that one's thresholds
// are enough: with a second, higher one a developer's machine would be short of disk while it is not.
func ofImages(f *machine.Figures, available, capacity int64) Observation {
	if !f.SeparateImages() {
		return Observation{}
	}
	return Observation{available, capacity}
}

func order(s Signal) int {
	return slices.IndexFunc(signals, func(known signal) bool { return known.Signal == s })
}

// Resource is what is low when a signal's threshold is passed.
func (s Signal) Resource() corev1.ResourceName { return signals[order(s)].resource }

// Condition is what the node then says of itself.
func (s Signal) Condition() corev1.NodeConditionType { return signals[order(s)].condition }

// Threshold is how little there may be of something, and for how long.
type Threshold struct {
	Signal Signal
	// Amount is in the signal's own unit; Share, of what there could be, counts when it is not zero.
	Amount int64
	Share  float64
	// Grace is how long a shortage is borne; zero: a hard threshold.
	Grace time.Duration
}

// below is the amount that the threshold stands for.
func (t Threshold) below(o Observation) int64 {
	if t.Share != 0 {
		return int64(t.Share * float64(o.Capacity))
	}
	return t.Amount
}

// met tells whether less is left than there should be. Of what cannot be measured there is enough.
func (t Threshold) met(o Observation) bool { return o.Capacity > 0 && o.Available < t.below(o) }

// quantity is an amount as people read it.
func (t Threshold) quantity(amount int64) string {
	return resource.NewQuantity(amount, signals[order(t.Signal)].format).String()
}

// Config is what is short, by whose measure.
type Config struct {
	// Thresholds are hard and soft ones; nil for Default.
	Thresholds []Threshold
	// Transition is how long a shortage must be over before the node says so; zero for five minutes.
	Transition time.Duration
	// MaxGrace bounds the time that a pod may take to end after a soft threshold; zero: none.
	MaxGrace time.Duration
}

// Default are a kubelet's hard thresholds, and one for processes, so that one pod's fork bomb is not everybody's.
func Default() []Threshold {
	return []Threshold{
		{Signal: MemoryAvailable, Amount: 100 << 20}, {Signal: NodeDiskAvailable, Share: 0.10}, {Signal: NodeInodesFree, Share: 0.05},
		{Signal: ImageAvailable, Share: 0.15}, {Signal: ImageInodesFree, Share: 0.05}, {Signal: PIDAvailable, Share: 0.05},
	}
}

// Parse reads thresholds in the form of a kubelet's flags: "memory.available<100Mi,nodefs.available<10%". A threshold of
// 0 or 0% is none.
func Parse(text string) ([]Threshold, error) {
	out := []Threshold{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "<")
		t := Threshold{Signal: Signal(strings.TrimSpace(name))}
		if !ok || order(t.Signal) < 0 {
			return nil, fmt.Errorf("%q: write signal<amount, as in memory.available<100Mi, with one of the signals %s", part, names())
		}
		if err := t.parse(strings.TrimSpace(value)); err != nil {
			return nil, fmt.Errorf("%q: %w", part, err)
		}
		if t.Amount != 0 || t.Share != 0 {
			out = append(out, t)
		}
	}
	return out, nil
}

func (t *Threshold) parse(value string) error {
	if percent, ok := strings.CutSuffix(value, "%"); ok {
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || n < 0 || n > 100 {
			return errors.New("a share is a number from 0% to 100%")
		}
		t.Share = n / 100
		return nil
	}
	q, err := resource.ParseQuantity(value)
	if err != nil || q.Sign() < 0 {
		return errors.New("an amount is a quantity, as in 100Mi, or a share, as in 10%")
	}
	t.Amount = q.Value()
	return nil
}

// ParseGrace reads how long soft thresholds are borne: "memory.available=1m30s".
func ParseGrace(text string) (map[Signal]time.Duration, error) {
	out := map[Signal]time.Duration{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		d, err := time.ParseDuration(strings.TrimSpace(value))
		of := Signal(strings.TrimSpace(name))
		if err != nil || d <= 0 || order(of) < 0 {
			return nil, fmt.Errorf("%q: write signal=time, as in memory.available=1m30s, with one of the signals %s", part, names())
		}
		out[of] = d
	}
	return out, nil
}

func names() string {
	var all []string
	for _, s := range signals {
		all = append(all, string(s.Signal))
	}
	return strings.Join(all, ", ")
}

// NewConfig reads thresholds as people write them; an empty hard means Default. Each soft one needs its grace.
func NewConfig(hard, soft, grace string) (Config, error) {
	var c Config
	c.Thresholds = Default()
	var err error
	if hard != "" {
		if c.Thresholds, err = Parse(hard); err != nil {
			return c, err
		}
	}
	softer, err := Parse(soft)
	if err != nil {
		return c, err
	}
	periods, err := ParseGrace(grace)
	if err != nil {
		return c, err
	}
	for _, t := range softer {
		if t.Grace = periods[t.Signal]; t.Grace == 0 {
			return c, fmt.Errorf("a soft threshold needs a grace period: there is none for %s", t.Signal)
		}
		c.Thresholds = append(c.Thresholds, t)
	}
	return c, nil
}

// Reserved is what pods cannot have of a machine's capacity, because they would be evicted for it.
func (c Config) Reserved(capacity corev1.ResourceList) corev1.ResourceList {
	thresholds := c.Thresholds
	if thresholds == nil {
		thresholds = Default()
	}
	out := corev1.ResourceList{}
	for _, t := range thresholds {
		if t.Grace != 0 || t.Signal != MemoryAvailable && t.Signal != NodeDiskAvailable {
			continue
		}
		if q, ok := capacity[t.Signal.Resource()]; ok {
			out[t.Signal.Resource()] = *resource.NewQuantity(min(q.Value(), t.below(Observation{Capacity: q.Value()})), resource.BinarySI)
		}
	}
	return out
}
