// Package scheduler gives every pod a node. One goroutine owns the queue and the snapshot and decides; writing the
// bindings and conditions happens beside it. Explain answers why a pod is where it is, or nowhere.
package scheduler

import (
	"context"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	schedulerv1 "karve.dev/karve/gen/go/karve/scheduler/v1"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/plugin"
	"karve.dev/karve/services/scheduler/queue"
	"karve.dev/karve/services/scheduler/snapshot"
)

// Recorder records Kubernetes events; *events.Recorder is one.
type Recorder interface {
	Event(obj client.Object, eventType, reason, format string, args ...any)
}

// Config is what the scheduler needs.
type Config struct {
	Client    *client.Client
	Informers *informer.Set
	Events    Recorder
	Logger    *zap.Logger
	// Name is the schedulerName of the pods that it takes: "default-scheduler".
	Name string
}

// maxWrites bounds the bindings and conditions that are being written at a time.
const maxWrites = 64

// Scheduler is the service. Make it with New, register it, then Run it.
type Scheduler struct {
	schedulerv1.UnimplementedSchedulerServiceServer
	cfg     Config
	plugins []framework.Plugin
	inbox   *inbox

	namespaces *informer.Informer[*corev1.Namespace]
	pods       *informer.Informer[*corev1.Pod]

	// Owned by the loop.
	snap  *snapshot.Snapshot
	queue *queue.Queue
	start int

	questions chan question
	writes    errgroup.Group
}

// New prepares the scheduler; it registers for what it needs with cfg.Informers.
func New(cfg Config) *Scheduler {
	if cfg.Name == "" {
		cfg.Name = corev1.DefaultSchedulerName
	}
	s := &Scheduler{
		cfg: cfg, plugins: plugin.Default(), inbox: newInbox(), snap: snapshot.New(), queue: queue.New(),
		namespaces: informer.For[*corev1.Namespace](cfg.Informers),
		pods:       informer.For[*corev1.Pod](cfg.Informers),
		questions:  make(chan question),
	}
	s.snap.NamespaceLabels = func(name string) labels.Set {
		if ns, ok := s.namespaces.Get("", name); ok {
			return ns.Labels
		}
		return nil
	}
	s.writes.SetLimit(maxWrites)
	s.pods.OnChange(func(old, pod *corev1.Pod) { s.inbox.pod(old, pod) })
	informer.For[*corev1.Node](cfg.Informers).OnChange(func(old, node *corev1.Node) { s.inbox.node(old, node) })
	s.namespaces.OnChange(func(old, ns *corev1.Namespace) {
		if old != nil && ns != nil && !labels.Equals(old.Labels, ns.Labels) {
			s.inbox.relabelled()
		}
	})
	return s
}

// Register adds the service's gRPC methods to a server.
func (s *Scheduler) Register(r grpc.ServiceRegistrar) {
	schedulerv1.RegisterSchedulerServiceServer(r, s)
}

// Run schedules until ctx ends; it returns when every write under way has ended.
func (s *Scheduler) Run(ctx context.Context) error {
	if err := s.cfg.Informers.WaitSynced(ctx); err != nil {
		return nil //nolint:nilerr // ctx ended before there was anything to do
	}
	defer s.writes.Wait() //nolint:errcheck // the functions return nil
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		s.takeIn(time.Now())
		s.answerOne()
		item, wait := s.queue.Pop(time.Now())
		if item != nil {
			s.scheduleOne(ctx, item)
			continue
		}
		if wait == 0 {
			wait = time.Hour
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-s.inbox.news:
		case <-timer.C:
		case q := <-s.questions:
			q.answer <- s.explain(q.pod)
		}
	}
	return nil
}

// answerOne answers a question that waits, so that a long queue does not keep it waiting.
func (s *Scheduler) answerOne() {
	select {
	case q := <-s.questions:
		q.answer <- s.explain(q.pod)
	default:
	}
}

// scheduleOne decides about one pod and starts the write that follows.
func (s *Scheduler) scheduleOne(ctx context.Context, item *queue.Item) {
	pod := item.Pod
	d := framework.Decide(s.plugins, s.snap, pod, s.start)
	s.start = d.Next
	if d.Node == nil {
		s.refuse(ctx, item, d)
		return
	}
	// Place it now: the decisions that follow must see it, long before the binding is written.
	s.snap.Place(pod, d.Node.Name)
	node := d.Node.Name
	s.writes.Go(func() error {
		if err := s.bind(ctx, pod.Object, node); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("binding failed, will retry", zap.String("pod", item.Key.String()), zap.String("node", node), zap.Error(err))
			s.inbox.bindFailed(item)
		}
		return nil
	})
}

func (s *Scheduler) refuse(ctx context.Context, item *queue.Item, d framework.Decision) {
	message := framework.Summary(len(s.snap.Nodes()), d.Verdicts)
	refusers := framework.Refusers(d.Verdicts)
	wakes := framework.NodeAdded
	for i := range s.plugins {
		if refusers[s.plugins[i].Name] {
			wakes |= s.plugins[i].Wakes
		}
	}
	s.queue.Park(item, wakes, time.Now())
	pod := item.Pod.Object
	s.writes.Go(func() error {
		s.cfg.Events.Event(pod, corev1.EventTypeWarning, "FailedScheduling", "%s", message)
		if err := s.writeCondition(ctx, pod, corev1.PodReasonUnschedulable, message); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("writing the pod's condition failed", zap.String("pod", item.Key.String()), zap.Error(err))
		}
		return nil
	})
}

// takeIn brings the snapshot and the queue up to date with what the informers have told since.
func (s *Scheduler) takeIn(now time.Time) {
	in := s.inbox.take()
	var changes framework.Change
	if in.relabelled {
		s.snap.ForgetCounts()
		changes |= framework.PodPlaced | framework.PodGone
	}
	for name, node := range in.nodes {
		changes |= s.takeNode(name, node)
	}
	for key, p := range in.pods {
		changes |= s.takePod(key, p, now)
	}
	for _, item := range in.failed {
		changes |= s.takeBack(item, now)
	}
	if changes != 0 {
		s.queue.Wake(changes, now)
	}
}

// takeBack undoes the placement of a pod whose binding failed, unless the pod turns out to be bound all the same.
func (s *Scheduler) takeBack(item *queue.Item, now time.Time) framework.Change {
	pod, ok := s.pods.Get(item.Key.Namespace, item.Key.Name)
	same := ok && pod.UID == item.Pod.Object.UID
	if same && pod.Spec.NodeName != "" {
		return 0 // takePod has placed it
	}
	s.snap.Remove(item.Pod.Object.UID)
	if same && s.mine(pod) {
		s.queue.Retry(item, now)
	}
	return framework.PodGone
}

func (s *Scheduler) takeNode(name string, node *corev1.Node) framework.Change {
	if node == nil {
		s.snap.RemoveNode(name)
		return 0
	}
	known := s.snap.Node(name)
	change := framework.NodeAdded
	if known != nil {
		change = nodeChange(known.Object, node)
	}
	s.snap.SetNode(node)
	return change
}

// takePod files a pod as placed, waiting or gone.
func (s *Scheduler) takePod(key informer.Key, p podChange, now time.Time) framework.Change {
	var change framework.Change
	for _, uid := range p.gone {
		if s.snap.Placed(uid) != "" {
			s.snap.Remove(uid)
			change |= framework.PodGone
		}
	}
	pod := p.pod
	switch {
	case pod == nil || finished(pod):
		s.queue.Remove(key)
		if pod != nil && s.snap.Placed(pod.UID) != "" {
			s.snap.Remove(pod.UID)
			change |= framework.PodGone
		}
	case pod.Spec.NodeName != "":
		s.queue.Remove(key)
		s.snap.Place(snapshot.NewPod(pod), pod.Spec.NodeName)
		change |= framework.PodPlaced
		if pod.DeletionTimestamp != nil {
			change |= framework.PodGone // spread constraints no longer count it
		}
	case s.mine(pod) && s.snap.Placed(pod.UID) == "":
		s.enqueue(key, pod, now)
	case !s.mine(pod):
		s.queue.Remove(key)
	}
	return change
}

// enqueue gives a new or changed pod an attempt; a change of its status alone, such as our own condition, is none.
func (s *Scheduler) enqueue(key informer.Key, pod *corev1.Pod, now time.Time) {
	if it := s.queue.Get(key); it != nil && it.Pod.Object.UID == pod.UID && sameDemands(it.Pod.Object, pod) {
		s.queue.Refresh(key, snapshot.NewPod(pod))
		return
	}
	s.queue.Set(key, snapshot.NewPod(pod), now)
}

func sameDemands(a, b *corev1.Pod) bool {
	return a.Generation == b.Generation && labels.Equals(a.Labels, b.Labels) && len(a.Spec.SchedulingGates) == len(b.Spec.SchedulingGates)
}

// mine says that a pod waits for this scheduler.
func (s *Scheduler) mine(pod *corev1.Pod) bool {
	return pod.Spec.SchedulerName == s.cfg.Name && pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0
}

func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func nodeChange(old, node *corev1.Node) framework.Change {
	var c framework.Change
	if !labels.Equals(old.Labels, node.Labels) {
		c |= framework.NodeLabels
	}
	if old.Spec.Unschedulable != node.Spec.Unschedulable || !sameTaints(old.Spec.Taints, node.Spec.Taints) {
		c |= framework.NodeTaints
	}
	if !sameResources(old.Status.Allocatable, node.Status.Allocatable) {
		c |= framework.NodeAllocatable
	}
	return c
}

func sameTaints(a, b []corev1.Taint) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].MatchTaint(&b[i]) || a[i].Value != b[i].Value {
			return false
		}
	}
	return true
}

func sameResources(a, b corev1.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for name, q := range a {
		if other, ok := b[name]; !ok || q.Cmp(other) != 0 {
			return false
		}
	}
	return true
}
