// Package report tells the control plane how the node and its pods are: only what has changed, in batches, again and
// again until it has arrived.
package report

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/turns"
)

const (
	// batch bounds the pods of one report.
	batch = 500
	// reportTimeout bounds one call.
	reportTimeout = 30 * time.Second
	firstPause    = 50 * time.Millisecond
	longPause     = 5 * time.Second
)

// Pods reports pods' statuses. What waits is bounded: only the newest status of each pod.
type Pods struct {
	rpc  nodev1.StatusServiceClient
	node string
	log  *zap.Logger
	task turns.Task

	mu      sync.Mutex
	pending map[types.UID]*nodev1.PodStatus
	order   []types.UID
	empty   []chan struct{} // closed when nothing waits any more
}

// NewPods returns a reporter for a node, which works in the group.
func NewPods(group *turns.Group, conn grpc.ClientConnInterface, node string, log *zap.Logger) *Pods {
	p := &Pods{
		rpc: nodev1.NewStatusServiceClient(conn), node: node, log: log.Named("report"),
		pending: map[types.UID]*nodev1.PodStatus{},
	}
	p.task.Init(group, turns.Retrying(firstPause, longPause, p.sendAll))
	p.task.Start()
	return p
}

// Report hands over a pod's newest status; terminated is true when nothing of a deleted pod is left. It never blocks.
func (p *Pods) Report(pod types.NamespacedName, uid types.UID, status *corev1.PodStatus, terminated bool) {
	data, err := status.Marshal()
	if err != nil {
		p.log.Error("encode status", zap.String("pod", pod.String()), zap.Error(err))
		return
	}
	p.put(&nodev1.PodStatus{Namespace: pod.Namespace, Name: pod.Name, Uid: string(uid), Status: data, Terminated: terminated}, true)
	p.task.Wake()
}

// put makes a status wait, in place of an older one; one that has failed does not replace a newer one.
func (p *Pods) put(st *nodev1.PodStatus, newer bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	uid := types.UID(st.GetUid())
	old, waiting := p.pending[uid]
	switch {
	case !waiting:
		p.order = append(p.order, uid)
	case !newer:
		return
	default:
		st.Terminated = st.Terminated || old.Terminated
	}
	p.pending[uid] = st
}

func (p *Pods) take() []*nodev1.PodStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.order), batch)
	out := make([]*nodev1.PodStatus, 0, n)
	for _, uid := range p.order[:n] {
		out = append(out, p.pending[uid])
		delete(p.pending, uid)
	}
	p.order = p.order[n:]
	if len(p.order) == 0 {
		p.order = nil
	}
	return out
}

// Flush returns when everything that has been handed over has been reported, or ctx has ended.
func (p *Pods) Flush(ctx context.Context) error {
	empty := make(chan struct{})
	p.mu.Lock()
	p.empty = append(p.empty, empty)
	p.mu.Unlock()
	p.task.Wake()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("tell how the pods are: %w", ctx.Err())
	}
}

// tellEmpty wakes those who wait in Flush, if nothing has come meanwhile.
func (p *Pods) tellEmpty() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.order) > 0 {
		return
	}
	for _, c := range p.empty {
		close(c)
	}
	p.empty = nil
}

// sendAll sends what waits. While one report is under way the next one gathers.
func (p *Pods) sendAll(ctx context.Context) error {
	for todo := p.take(); len(todo) > 0; todo = p.take() {
		if err := p.send(ctx, todo); err != nil {
			return err
		}
	}
	p.tellEmpty()
	return nil
}

// send reports a batch; what may succeed later is put back, which is an error.
func (p *Pods) send(ctx context.Context, todo []*nodev1.PodStatus) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	res, err := p.rpc.Report(ctx, &nodev1.ReportRequest{Node: p.node, Pods: todo})
	if err != nil {
		p.log.Debug("not reported", zap.Int("pods", len(todo)), zap.Error(err))
		for _, st := range todo {
			p.put(st, false)
		}
		return fmt.Errorf("report pods: %w", err)
	}
	for i, r := range res.GetResults() {
		if i >= len(todo) {
			break
		}
		switch code := codes.Code(r.GetCode()); code {
		case codes.OK, codes.NotFound:
		case codes.InvalidArgument, codes.PermissionDenied:
			p.log.Error("status refused", zap.String("pod", todo[i].GetNamespace()+"/"+todo[i].GetName()), zap.String("why", r.GetMessage()))
		default:
			p.put(todo[i], false)
			err = fmt.Errorf("report pods: %s", r.GetMessage())
		}
	}
	return err
}
