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
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

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
	budgets    *informer.Informer[*policyv1.PodDisruptionBudget]

	// Owned by the loop.
	snap  *snapshot.Snapshot
	queue *queue.Queue
	start int
	// storage is the snapshot's view of claims and volumes, reserved the pods that have a place but not yet their volumes.
	storage  *storage
	reserved map[types.UID]*reservation
	// nominated are the pods for which a node is being cleared.
	nominated map[types.UID]nomination
	// leaving are the pods that are being told to go, until they say so themselves.
	leaving map[types.UID]bool

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
		budgets:    informer.For[*policyv1.PodDisruptionBudget](cfg.Informers),
		questions:  make(chan question), reserved: map[types.UID]*reservation{}, nominated: map[types.UID]nomination{}, leaving: map[types.UID]bool{},
	}
	s.storage = newStorage(cfg.Informers, s.inbox)
	s.snap.Storage = s.storage
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
		s.lookAtReserved(ctx, time.Now())
		s.answerOne()
		item, wait := s.queue.Pop(time.Now())
		if item != nil {
			s.scheduleOne(ctx, item)
			continue
		}
		if wait == 0 {
			wait = time.Hour
		}
		if len(s.reserved) > 0 {
			wait = min(wait, reservationCheck)
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
	d := s.decide(pod)
	s.start = d.Next
	if d.Node == nil {
		s.refuse(ctx, item, d)
		return
	}
	delete(s.nominated, pod.Object.UID)
	// Place it now: the decisions that follow must see it, long before the binding is written.
	plans := plugin.PlanClaims(s.snap, pod, d.Node)
	s.snap.Place(pod, d.Node.Name)
	if len(plans) > 0 {
		s.reserve(ctx, item, d.Node.Name, plans)
		return
	}
	s.writeBinding(ctx, item, d.Node.Name)
}

// writeBinding writes a decision beside the loop.
func (s *Scheduler) writeBinding(ctx context.Context, item *queue.Item, node string) {
	s.writes.Go(func() error {
		if err := s.bind(ctx, item.Pod.Object, node); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("binding failed, will retry", zap.String("pod", item.Key.String()), zap.String("node", node), zap.Error(err))
			s.inbox.bindFailed(item)
		}
		return nil
	})
}

func (s *Scheduler) refuse(ctx context.Context, item *queue.Item, d framework.Decision) {
	message := d.Summary(len(s.snap.Nodes()))
	refusers := d.Refusers()
	wakes := framework.NodeAdded
	for i := range s.plugins {
		if refusers[s.plugins[i].Name] {
			wakes |= s.plugins[i].Wakes
		}
	}
	victims, why := s.preempt(item.Pod, d)
	if why != "" {
		message += " " + why
	}
	nominated := s.nominated[item.Pod.Object.UID].node
	s.queue.Park(item, wakes, time.Now())
	pod := item.Pod.Object
	s.writes.Go(func() error {
		s.cfg.Events.Event(pod, corev1.EventTypeWarning, "FailedScheduling", "%s", message)
		if err := s.writeRefusal(ctx, pod, message, nominated); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("writing the pod's condition failed", zap.String("pod", item.Key.String()), zap.Error(err))
		}
		s.clear(ctx, item, pod, nominated, victims)
		return nil
	})
}
