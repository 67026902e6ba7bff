package figures

import (
	"context"
	"sync"
	"time"

	"karve.dev/karve/agents/node/machine"
)

const (
	// firstLook is how far two samples are apart when nobody has asked lately.
	firstLook = 500 * time.Millisecond
	// shortest is the least time that a rate is taken over, longest the most: a sample older than that tells of the past.
	shortest = time.Second
	longest  = time.Minute
)

// Rates tells how fast processor time is being used. It keeps a sample of the last time that somebody asked, and takes
// two when that is too long ago. It is safe for concurrent use.
type Rates struct {
	collector *Collector
	machine   machine.Reader

	asking sync.Mutex // held while samples are taken: askers share them
	base   sample
	last   Answer
}

// sample is the processor time used up to a moment, by container ID and by the machine.
type sample struct {
	at         time.Time
	containers map[string]spent
	machine    spent
}

type spent struct {
	at  time.Time
	cpu time.Duration
}

// Answer is what is used now.
type Answer struct {
	At     time.Time
	Window time.Duration
	// CPU is in processors; memory in bytes.
	Machine Use
	Pods    []PodUse
}

// Use is a rate of processor time, in processors, and an amount of memory.
type Use struct {
	CPU    float64
	Memory int64
}

// PodUse is what the containers of a pod use.
type PodUse struct {
	Namespace, Name string
	UID             string
	Containers      []ContainerUse
}

// ContainerUse is what one container uses.
type ContainerUse struct {
	Name string
	Use
	// Window is what its rate was taken over.
	Window time.Duration
}

// NewRates returns rates of what a collector and a machine tell.
func NewRates(c *Collector, m machine.Reader) *Rates { return &Rates{collector: c, machine: m} }

// Now tells what is used. It takes no time when somebody has asked within the last minute, else half a second.
func (r *Rates) Now(ctx context.Context) (Answer, error) {
	r.asking.Lock()
	defer r.asking.Unlock()
	age := time.Since(r.base.at)
	if age < shortest && !r.last.At.IsZero() {
		return r.last, nil
	}
	if age > longest {
		if _, _, err := r.sample(ctx); err != nil {
			return Answer{}, err
		}
		timer := time.NewTimer(firstLook)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return Answer{}, ctx.Err()
		}
	}
	before := r.base
	pods, now, err := r.sample(ctx)
	if err != nil {
		return Answer{}, err
	}
	r.last = answer(before, r.base, pods, now)
	return r.last, nil
}

// sample measures everything and keeps it as the base of the next rates.
func (r *Rates) sample(ctx context.Context) ([]Pod, machine.Figures, error) {
	now, err := r.machine.Read()
	if err != nil {
		return nil, now, err
	}
	pods, err := r.collector.Pods(ctx, Want{})
	if err != nil {
		return nil, now, err
	}
	r.base = sample{at: now.At, machine: spent{now.At, now.CPU}, containers: map[string]spent{}}
	for i := range pods {
		for j := range pods[i].Containers {
			c := &pods[i].Containers[j]
			r.base.containers[c.ID] = spent{c.At, c.CPU}
		}
	}
	return pods, now, nil
}

// answer takes the rates between two samples. A container that has started in between has used nothing before.
func answer(before, after sample, pods []Pod, now machine.Figures) Answer {
	out := Answer{At: after.at, Window: after.at.Sub(before.at)}
	out.Machine = Use{CPU: rate(before.machine, after.machine), Memory: now.Memory - now.MemoryFree}
	for i := range pods {
		p := &pods[i]
		use := PodUse{Namespace: p.Spec.Namespace, Name: p.Spec.Name, UID: string(p.Spec.UID)}
		for j := range p.Containers {
			c := &p.Containers[j]
			first, known := before.containers[c.ID]
			if !known {
				first = spent{at: c.StartedAt}
			}
			last := after.containers[c.ID]
			use.Containers = append(use.Containers, ContainerUse{
				Name: c.Meta.Container, Use: Use{CPU: rate(first, last), Memory: c.WorkingSet}, Window: last.at.Sub(first.at),
			})
		}
		if len(use.Containers) > 0 {
			out.Pods = append(out.Pods, use)
		}
	}
	return out
}

func rate(before, after spent) float64 {
	took := after.at.Sub(before.at)
	if took <= 0 || after.cpu < before.cpu {
		return 0
	}
	return float64(after.cpu-before.cpu) / float64(took)
}
