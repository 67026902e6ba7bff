package scheduler

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/informer"
	"karve.dev/karve/services/scheduler/queue"
)

// inbox gathers what informers and writers tell the loop, the newest of each object: it is bounded by the number of
// objects in the cluster.
type inbox struct {
	news chan struct{}

	mu      sync.Mutex
	pending changes
}

type changes struct {
	pods       map[informer.Key]podChange
	nodes      map[string]*corev1.Node
	failed     []*queue.Item // at most maxWrites
	relabelled bool
	claims     map[informer.Key]bool // those that have changed
	storage    bool                  // volumes or classes have changed
	written    []*reservation
	spared     []*corev1.Pod // that were to go, and were not told
}

// podChange is the newest state under a pod's name, nil for none, and the uids that had the name before.
type podChange struct {
	pod  *corev1.Pod
	gone []types.UID
}

func newInbox() *inbox { return &inbox{news: make(chan struct{}, 1), pending: emptyChanges()} }

func emptyChanges() changes {
	return changes{pods: map[informer.Key]podChange{}, nodes: map[string]*corev1.Node{}, claims: map[informer.Key]bool{}}
}

// update changes what is pending and wakes the loop.
func (b *inbox) update(fn func(*changes)) {
	b.mu.Lock()
	fn(&b.pending)
	b.mu.Unlock()
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// take empties the inbox.
func (b *inbox) take() changes {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := &b.pending; len(p.pods)+len(p.nodes)+len(p.failed)+len(p.claims)+len(p.written)+len(p.spared) == 0 && !p.relabelled && !p.storage {
		return changes{}
	}
	out := b.pending
	b.pending = emptyChanges()
	return out
}

func (b *inbox) pod(old, pod *corev1.Pod) {
	b.update(func(c *changes) {
		obj := pod
		if obj == nil {
			obj = old
		}
		key := informer.KeyOf(obj)
		p := c.pods[key]
		if old != nil && (pod == nil || pod.UID != old.UID) {
			p.gone = append(p.gone, old.UID)
		}
		p.pod = pod
		c.pods[key] = p
	})
}

func (b *inbox) node(old, node *corev1.Node) {
	b.update(func(c *changes) {
		if node == nil {
			c.nodes[old.Name] = nil
			return
		}
		c.nodes[node.Name] = node
	})
}

func (b *inbox) relabelled() { b.update(func(c *changes) { c.relabelled = true }) }

func (b *inbox) bindFailed(item *queue.Item) {
	b.update(func(c *changes) { c.failed = append(c.failed, item) })
}

func (b *inbox) claim(key informer.Key) { b.update(func(c *changes) { c.claims[key] = true }) }

func (b *inbox) storageChanged() { b.update(func(c *changes) { c.storage = true }) }

func (b *inbox) spared(pods []*corev1.Pod) {
	b.update(func(c *changes) { c.spared = append(c.spared, pods...) })
}

func (b *inbox) reservationWritten(r *reservation) {
	b.update(func(c *changes) { c.written = append(c.written, r) })
}
