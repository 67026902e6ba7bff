package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/agents/node/machine"
	"karve.dev/karve/agents/node/report"
)

const (
	// repairEvery is how often the network's rules are checked.
	repairEvery = 5 * time.Minute
	// measureEvery is how often the machine is measured by default.
	measureEvery = 10 * time.Second
	// imagesQuiet is how long images must not change before the Node's list of them is written.
	imagesQuiet = 5 * time.Second

	firstPause = 100 * time.Millisecond
	longPause  = 5 * time.Second
)

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// lowestOOMScoreAdj is what an agent wants to give: to sandboxes.
const lowestOOMScoreAdj = -998

// self is what events about the node are about.
func (a *Agent) self() corev1.ObjectReference {
	return corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: a.cfg.NodeName, UID: types.UID(a.cfg.NodeName)}
}

// keepNode registers the node and keeps its status.
func (a *Agent) keepNode(ctx context.Context) error {
	self := a.self()
	a.cfg.Events.EventOn(self, corev1.EventTypeNormal, "Starting", "Starting kubelet.")
	if lowest := machine.MinOOMScoreAdj(); lowest > lowestOOMScoreAdj {
		a.log.Info("containers get no lower oom_score_adj: this machine allows none without CAP_SYS_RESOURCE", zap.Int("least", lowest))
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	a.learnEngine(short) // before the node is registered, if it can be
	cancel()
	a.node.Start()
	return nil
}

// readiness adds up what must be so before pods can run.
type readiness struct {
	mu      sync.Mutex
	engine  error
	network error
	down    error // set when the machine goes down
}

var (
	errNoContact = errors.New("container runtime has not answered yet")
	errNoCIDR    = errors.New("container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: the node has no podCIDR yet")
)

// setEngine and setNetwork tell how the two are; the Node's Ready condition follows.
func (a *Agent) setEngine(err error) {
	a.ready.mu.Lock()
	a.ready.engine = err
	a.ready.mu.Unlock()
	a.setReady()
}

func (a *Agent) setNetwork(err error) {
	a.ready.mu.Lock()
	a.ready.network = err
	a.ready.mu.Unlock()
	a.setReady()
}

func (a *Agent) setReady() {
	a.ready.mu.Lock()
	defer a.ready.mu.Unlock()
	if err := errors.Join(a.ready.engine, a.ready.network, a.ready.down); err != nil {
		// An agent that has just started does not know yet. A node that was Ready stays so: taking its pods out of their
		// Services for that moment would be a disruption at every restart.
		starting := errors.Is(err, errNoContact) || errors.Is(err, errNoCIDR)
		if known := a.node.Current(); starting && (known == nil || report.IsReady(known)) {
			return
		}
		a.setCondition(corev1.NodeReady, corev1.ConditionFalse, "KubeletNotReady", err.Error())
		return
	}
	a.readyOnce.Do(func() { close(a.isReady) })
	a.setCondition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status")
}

func (a *Agent) imagesChanged() {
	now := time.Now()
	a.imagesAt.Store(&now)
	a.imageList.Wake()
}

// keepNetwork sets the network up once the node has its podCIDR, and repairs it from time to time.
func (a *Agent) keepNetwork(ctx context.Context) time.Time {
	cidr := a.podCIDR.Load()
	if cidr == nil {
		return time.Time{}
	}
	return time.Now().Add(a.setupNetwork(ctx, *cidr))
}

// setupNetwork returns when to look at the network again.
func (a *Agent) setupNetwork(ctx context.Context, cidr netip.Prefix) time.Duration {
	err := a.network.Setup(ctx, cidr)
	if err == nil || ctx.Err() != nil {
		a.setNetwork(nil)
		return repairEvery
	}
	a.log.Error("set up the pod network", zap.Error(err))
	a.setNetwork(fmt.Errorf("container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: %w", err))
	return longPause
}

// reportImages keeps the Node's list of images, when they have not changed for a while.
func (a *Agent) reportImages(ctx context.Context) time.Time {
	changed := a.imagesAt.Load()
	if changed == nil {
		return time.Time{}
	}
	if due := changed.Add(imagesQuiet); time.Now().Before(due) {
		return due
	}
	a.imagesAt.CompareAndSwap(changed, nil)
	images, err := a.cfg.Runtime.Images(ctx)
	if err != nil {
		a.log.Debug("list images", zap.Error(err))
		return time.Time{}
	}
	list := describeImages(images)
	a.node.Change(func(st *corev1.NodeStatus) { st.Images = list })
	return time.Time{}
}
