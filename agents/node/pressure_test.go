package node_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node"
	"karve.dev/karve/agents/node/eviction"
	"karve.dev/karve/agents/node/machine"
	"karve.dev/karve/agents/node/runtime/simulated"
)

// invented is a machine whose figures a test makes up.
type invented struct {
	mu  sync.Mutex
	now machine.Figures
}

func newInvented() *invented {
	disk := machine.Disk{Total: 100 << 30, Free: 50 << 30, Inodes: 1000, InodesFree: 900}
	return &invented{now: machine.Figures{Memory: 8 << 30, MemoryFree: 4 << 30, NodeDisk: disk, ImageDisk: disk, MaxProcesses: 1000, Processes: 100}}
}

func (m *invented) Read() (machine.Figures, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.now
	out.At = time.Now()
	return out, nil
}

func (m *invented) change(change func(*machine.Figures)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.now)
}

// use makes a node measure an invented machine, often.
func (m *invented) use(cfg *node.Config) {
	cfg.Machine, cfg.MeasureEvery = m, 20*time.Millisecond
	cfg.Eviction = eviction.Config{Transition: time.Second}
}

func TestShortOfMemory(t *testing.T) {
	p, m := newPlane(t, "10.233.3.0/24"), newInvented()
	simulate(t, p, simulated.New(), "sim-3", m.use)
	p.until("the node has memory", func() bool {
		c := nodeReady(p)
		return c != nil && c.Status == corev1.ConditionTrue && condition(p.node, corev1.NodeMemoryPressure).Status == corev1.ConditionFalse
	})
	priority := func(name string, value int32) *corev1.Pod {
		pod := pod(name, corev1.Container{})
		pod.Spec.Priority = &value
		return p.create(pod)
	}
	priority("valued", 100)
	priority("system", 2_000_000_000)
	priority("least", 0)
	for _, name := range []string{"valued", "system", "least"} {
		p.wait(name, "running", running)
	}
	m.change(func(f *machine.Figures) { f.MemoryFree = 50 << 20 })
	evicted := func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodFailed }
	first := p.wait("least", "evicted", evicted)
	require.Equal(t, "Evicted", first.Status.Reason)
	require.Equal(t, "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. ", first.Status.Message)
	p.waitEvent("Evicted")
	p.waitEvent("EvictionThresholdMet")
	second := p.wait("valued", "evicted, as that was not enough", evicted)
	require.Equal(t, "Evicted", second.Status.Reason)
	p.until("the node is short of memory", func() bool {
		return condition(p.node, corev1.NodeMemoryPressure).Status == corev1.ConditionTrue
	})
	require.Equal(t, "KubeletHasInsufficientMemory", condition(p.node, corev1.NodeMemoryPressure).Reason)
	p.wait("system", "still running", running)

	m.change(func(f *machine.Figures) { f.MemoryFree = 4 << 30 })
	p.until("the node has memory again", func() bool {
		return condition(p.node, corev1.NodeMemoryPressure).Status == corev1.ConditionFalse
	})
	p.wait("system", "still running", running)
}
