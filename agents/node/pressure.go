package node

import (
	"context"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/eviction"
	"karve.dev/karve/agents/node/figures"
	"karve.dev/karve/agents/node/machine"
	"karve.dev/karve/agents/node/podserver"
	"karve.dev/karve/agents/node/podstate"
)

// endWait bounds the wait for a pod that was evicted: only then it shows whether that was enough.
const endWait = 30 * time.Second

// plenty is the machine of a node that only pretends: nothing is ever short on it.
type plenty struct{}

// Read implements machine.Reader.
func (plenty) Read() (machine.Figures, error) { return machine.Figures{At: time.Now()}, nil }

// conditions are what the node says of the machine at start.
func (a *Agent) conditions() []corev1.NodeCondition {
	now, err := a.measures.machine.Read()
	if err != nil {
		a.log.Warn("measure the machine", zap.Error(err))
	}
	return a.judge.Look(&now, now.At).Conditions()
}

// watchPressure measures the machine, often enough and when the kernel says that programs stall. Conditions change only
// when a shortage begins or ends.
func (a *Agent) watchPressure(ctx context.Context) error {
	if _, pretends := a.measures.machine.(plenty); pretends {
		return nil
	}
	alarm := make(chan struct{}, 1)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		if err := machine.WatchMemory(ctx, func() { wake(alarm) }); err != nil {
			a.log.Debug("the kernel does not tell of stalls", zap.Error(err))
		}
	}()
	defer func() { <-watching }()
	timer := time.NewTimer(a.cfg.MeasureEvery)
	defer timer.Stop()
	for {
		a.pool.TrimMessages()
		for a.relieve(ctx) {
		}
		timer.Reset(a.cfg.MeasureEvery)
		select {
		case <-timer.C:
		case <-alarm:
		case <-ctx.Done():
			return nil
		}
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// relieve measures the machine and does one thing about a shortage; true when that has been done and it is worth looking
// again at once.
func (a *Agent) relieve(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	now, err := a.measures.machine.Read()
	if err != nil {
		a.log.Warn("measure the machine", zap.Error(err))
		return false
	}
	verdict := a.judge.Look(&now, now.At)
	for _, c := range verdict.Conditions() {
		a.setCondition(c.Type, c.Status, c.Reason, c.Message)
	}
	if a.enforceLimits(ctx) {
		return true
	}
	for _, passed := range verdict.Act {
		a.cfg.Events.EventOn(a.self(), corev1.EventTypeWarning, "EvictionThresholdMet", "Attempting to reclaim %v", passed.Signal.Resource())
		if passed.Signal.Condition() == corev1.NodeDiskPressure && a.freeImages(ctx, now.ImageDisk.Total) > 0 {
			return true
		}
		if a.evictFor(ctx, passed, now.SeparateImages()) {
			return true
		}
	}
	return false
}

// evictFor evicts the first of those that have to go; false when there is none.
func (a *Agent) evictFor(ctx context.Context, passed eviction.Passed, separate bool) bool {
	disk := passed.Signal.Condition() == corev1.NodeDiskPressure
	all, _ := a.candidates(ctx, figures.Want{Disk: disk}, func(*corev1.Pod) bool { return true })
	for _, c := range eviction.Rank(all, passed.Signal, separate) {
		if a.evict(ctx, c.Pod, passed.Signal, podstate.Ending{Message: eviction.Message(passed, c, separate), Grace: a.judge.GracePeriod(passed, c.Pod)}) {
			return true
		}
	}
	return false
}

// enforceLimits evicts a pod that has written more than it may.
func (a *Agent) enforceLimits(ctx context.Context) bool {
	all, volumes := a.candidates(ctx, figures.Want{Disk: true}, eviction.Limited)
	for i, c := range all {
		if limit, message := eviction.Exceeded(c, volumes[i]); message != "" && a.evict(ctx, c.Pod, limit, podstate.Ending{Message: message, Grace: time.Second, Own: true}) {
			return true
		}
	}
	return false
}

// evict ends a pod and waits until it has ended, but not for ever; false when it ends already.
func (a *Agent) evict(ctx context.Context, pod *corev1.Pod, because eviction.Signal, how podstate.Ending) bool {
	how.Reason = "Evicted"
	done, ok := a.pool.End(pod.UID, how)
	if !ok {
		return false
	}
	a.log.Warn("evict a pod", zap.String("pod", pod.Namespace+"/"+pod.Name), zap.String("why", how.Message))
	a.metrics.evictions.WithLabelValues(string(because)).Inc()
	a.cfg.Events.Event(pod, corev1.EventTypeWarning, "Evicted", "%s", how.Message)
	ctx, cancel := context.WithTimeout(ctx, how.Grace+endWait)
	defer cancel()
	select {
	case <-done:
	case <-ctx.Done():
	}
	return true
}

// candidates are the node's running pods with what they use, and the sizes of each one's volumes.
func (a *Agent) candidates(ctx context.Context, want figures.Want, which func(*corev1.Pod) bool) ([]eviction.Candidate, []map[string]int64) {
	var chosen []*podserver.Pod
	for _, p := range a.pool.All() {
		if p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded && which(p.Spec) {
			chosen = append(chosen, p)
		}
	}
	if len(chosen) == 0 {
		return nil, nil
	}
	pods, err := a.measures.collector.Measure(ctx, chosen, want)
	if err != nil {
		a.log.Warn("measure pods", zap.Error(err))
		return nil, nil
	}
	var out []eviction.Candidate
	var volumes []map[string]int64
	for i := range pods {
		c, sizes := candidate(&pods[i])
		out, volumes = append(out, c), append(volumes, sizes)
	}
	return out, volumes
}

func candidate(p *figures.Pod) (eviction.Candidate, map[string]int64) {
	c := eviction.Candidate{Pod: p.Spec}
	for i := range p.Containers {
		one := &p.Containers[i]
		c.Containers = append(c.Containers, eviction.Use{
			Name: one.Meta.Container, Memory: one.WorkingSet, Processes: one.Processes,
			Layer: one.Layer.Bytes, LayerInodes: one.Layer.Inodes, Logs: one.Logs.Bytes, LogsInodes: one.Logs.Inodes,
		})
	}
	sizes := map[string]int64{}
	for i := range p.Volumes {
		v := &p.Volumes[i]
		sizes[v.Name] = v.Used.Bytes
		if !v.Memory && v.Claim == "" {
			c.Volumes += v.Used.Bytes
			c.VolumeInodes += v.Used.Inodes
		}
	}
	return c, sizes
}
