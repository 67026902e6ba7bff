// Package podcidr gives every node its range of pod addresses.
package podcidr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
)

// workers take blocks under a lock and write in parallel.
const workers = 4

// Controller is the pod address range controller.
type Controller struct {
	client *client.Client
	events *events.Recorder
	log    *zap.Logger
	nodes  *informer.Informer[*corev1.Node]
	queue  *reconcile.Controller

	mu   sync.Mutex
	pool *pool
	// waiting are the nodes that found no free block, and were told so.
	waiting map[string]bool
}

// New returns the controller for nodes' ranges of the given length out of the cluster's. It registers with the
// informers, which must not run yet.
func New(c *client.Client, set *informer.Set, recorder *events.Recorder, log *zap.Logger, cluster netip.Prefix, bits int) (*Controller, error) {
	p, err := newPool(cluster, bits)
	if err != nil {
		return nil, err
	}
	r := &Controller{
		client: c, events: recorder.As("cidrAllocator"), log: log, nodes: informer.For[*corev1.Node](set), pool: p, waiting: map[string]bool{},
	}
	r.queue = reconcile.New("podcidr", workers, r.reconcile, log)
	r.nodes.OnChange(r.nodeChanged)
	return r, nil
}

// Run works until ctx ends. The informers are synced before, so that every range that is in use is known.
func (r *Controller) Run(ctx context.Context) error { return r.queue.Run(ctx) }

func (r *Controller) nodeChanged(old, new *corev1.Node) {
	if new == nil {
		r.release(old.Name)
		return
	}
	if len(rangesOf(new)) == 0 {
		if old == nil {
			r.queue.Enqueue(informer.KeyOf(new))
		}
		return
	}
	if old == nil || len(rangesOf(old)) == 0 {
		r.occupy(new)
	}
}

// rangesOf returns the node's ranges as they are written.
func rangesOf(n *corev1.Node) []string {
	if len(n.Spec.PodCIDRs) == 0 && n.Spec.PodCIDR != "" {
		return []string{n.Spec.PodCIDR}
	}
	return n.Spec.PodCIDRs
}

func (r *Controller) occupy(n *corev1.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, n.Name)
	for _, text := range rangesOf(n) {
		block, err := netip.ParsePrefix(text)
		if err != nil {
			r.log.Warn("node has a range that is none", zap.String("node", n.Name), zap.String("podCIDR", text))
			continue
		}
		if other := r.pool.occupy(n.Name, block); other != "" {
			r.log.Error("two nodes have the same pod addresses: delete one and let it join again", zap.String("node", n.Name), zap.String("other", other), zap.String("podCIDR", text))
		}
	}
}

// release frees a node's range and lets those try that found none.
func (r *Controller) release(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, node)
	if !r.pool.release(node) {
		return
	}
	for name := range r.waiting {
		r.queue.Enqueue(informer.Key{Name: name})
	}
}

func (r *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	n, ok := r.nodes.Get("", key.Name)
	if !ok || len(rangesOf(n)) > 0 {
		return 0, nil
	}
	block, err := r.take(n)
	if errors.Is(err, errFull) {
		return 0, nil // the next node that goes wakes this one
	}
	if err != nil {
		return 0, err
	}
	err = r.assign(ctx, n, block)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		// This node is gone; if another has come under its name, that one has its own turn. Taking the block again
		// for the same name is harmless, so it is freed only when nobody bears the name.
		if _, there := r.nodes.Get("", key.Name); !there {
			r.release(key.Name)
		}
		return time.Second, nil
	}
	if err != nil {
		return 0, fmt.Errorf("give %s to node %s: %w", block, n.Name, err)
	}
	return 0, nil
}

// take returns the node's block. A block whose writing failed, or of which nothing is known, is still the node's.
func (r *Controller) take(n *corev1.Node) (netip.Prefix, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	block, err := r.pool.take(n.Name)
	if errors.Is(err, errFull) && !r.waiting[n.Name] {
		r.waiting[n.Name] = true
		r.events.Event(n, corev1.EventTypeNormal, "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", n.Name)
		r.log.Error("no pod addresses left for a node: delete a node, or use a larger range", zap.String("node", n.Name))
	}
	return block, err
}

func (r *Controller) assign(ctx context.Context, n *corev1.Node, block netip.Prefix) error {
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": n.UID},
		"spec":     map[string]any{"podCIDR": block.String(), "podCIDRs": []string{block.String()}},
	})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	return r.client.Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name}}, types.StrategicMergePatchType, body, "")
}
