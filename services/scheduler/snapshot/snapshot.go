// Package snapshot is the scheduler's picture of the cluster: nodes, what runs on them, and counts of pods by topology.
// It is kept up to date change by change and owned by one goroutine: nothing here locks.
package snapshot

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/hostport"
	"karve.dev/karve/internal/volume"
)

// Snapshot holds every node and every pod that has a place on one.
type Snapshot struct {
	// NamespaceLabels gives the labels of a namespace, for affinity terms that choose namespaces by them; may be nil.
	NamespaceLabels func(namespace string) labels.Set
	// Storage knows claims and volumes; nil where there are none.
	Storage Storage

	nodes    map[string]*Node
	order    []*Node // the nodes that exist, in the order they came
	pods     map[types.UID]*Pod
	counters map[string]*Counter
	clock    int64 // counts uses of counters, to drop the one that was used longest ago
	anti     map[string]*Counter
	// claimed counts the placed pods that use a claim, priorities those of a priority.
	claimed    map[string]int
	priorities map[int32]int
}

// Storage is what scheduling needs to know of claims and volumes. Its methods return nil for what does not exist.
type Storage interface {
	Claim(namespace, name string) *corev1.PersistentVolumeClaim
	Volume(name string) *corev1.PersistentVolume
	Class(name string) *storagev1.StorageClass
	// Free returns the volumes of a class that a claim may get: not those that are about to be another's.
	Free(class string, claim *corev1.PersistentVolumeClaim) []*corev1.PersistentVolume
}

// Node is one node and what has a place on it.
type Node struct {
	// Object is nil while pods name a node that does not exist (yet, or any more).
	Object      *corev1.Node
	Name        string
	Allocatable Resources
	Requested   Resources
	Pods        map[types.UID]*Pod
	// Ports counts host ports in use.
	Ports map[hostport.Port]int
}

// Pod is a pod with what scheduling needs of it worked out once.
type Pod struct {
	Object   *corev1.Pod
	Requests Resources
	Ports    []hostport.Port
	// Affinity terms, compiled.
	Affinity, AntiAffinity        []Term
	PreferAffinity, PreferAntiAff []WeightedTerm
	// Claims are the names of the claims that it uses.
	Claims []string
	node   *Node
}

// New returns an empty snapshot.
func New() *Snapshot {
	return &Snapshot{nodes: map[string]*Node{}, pods: map[types.UID]*Pod{}, counters: map[string]*Counter{}, anti: map[string]*Counter{}, claimed: map[string]int{}, priorities: map[int32]int{}}
}

// Nodes returns the nodes that exist. The slice is only valid until the next change.
func (s *Snapshot) Nodes() []*Node { return s.order }

// Node returns a node by name, nil when it does not exist.
func (s *Snapshot) Node(name string) *Node {
	if n := s.nodes[name]; n != nil && n.Object != nil {
		return n
	}
	return nil
}

// Placed returns the node that a pod has a place on, "" for none.
func (s *Snapshot) Placed(uid types.UID) string {
	if p := s.pods[uid]; p != nil {
		return p.node.Name
	}
	return ""
}

func (s *Snapshot) node(name string) *Node {
	n := s.nodes[name]
	if n == nil {
		n = &Node{Name: name, Pods: map[types.UID]*Pod{}, Ports: map[hostport.Port]int{}}
		s.nodes[name] = n
	}
	return n
}

// SetNode adds a node or takes over its new state.
func (s *Snapshot) SetNode(obj *corev1.Node) {
	n := s.node(obj.Name)
	if n.Object == nil {
		s.order = append(s.order, n)
		s.ForgetCounts()
	} else if !labels.Equals(n.Object.Labels, obj.Labels) {
		s.ForgetCounts()
	}
	n.Object = obj
	n.Allocatable = FromList(obj.Status.Allocatable)
}

// RemoveNode takes a node out; pods that name it stay known.
func (s *Snapshot) RemoveNode(name string) {
	n := s.nodes[name]
	if n == nil || n.Object == nil {
		return
	}
	n.Object = nil
	for i, other := range s.order {
		if other == n {
			s.order = append(s.order[:i], s.order[i+1:]...)
			break
		}
	}
	if len(n.Pods) == 0 {
		delete(s.nodes, name)
	}
	s.ForgetCounts()
}

// NewPod works out what scheduling needs of a pod.
func NewPod(obj *corev1.Pod) *Pod {
	p := &Pod{Object: obj, Requests: RequestsOf(obj), Ports: hostport.Of(obj), Claims: volume.ClaimNames(obj)}
	compileAffinity(p)
	return p
}

// Place puts a pod on a node, replacing what is known of the pod. It says whether the pod takes less of something than before.
func (s *Snapshot) Place(p *Pod, nodeName string) (frees bool) {
	uid := p.Object.UID
	if before := s.pods[uid]; before != nil {
		frees = p.Requests.frees(&before.Requests)
		s.Remove(uid)
	}
	n := s.node(nodeName)
	p.node = n
	s.pods[uid], n.Pods[uid] = p, p
	n.Requested.Add(&p.Requests, 1)
	s.priorities[p.Priority()]++
	for _, hp := range p.Ports {
		n.Ports[hp]++
	}
	for _, name := range p.Claims {
		s.claimed[claimKey(p, name)]++
	}
	s.count(p, 1)
	return frees
}

// Priority is the pod's, 0 when it has none.
func (p *Pod) Priority() int32 {
	if v := p.Object.Spec.Priority; v != nil {
		return *v
	}
	return 0
}

// LowestPriority is that of the least important pod that has a place; the highest there is when none has.
func (s *Snapshot) LowestPriority() int32 {
	lowest := int32(math.MaxInt32)
	for v := range s.priorities {
		lowest = min(lowest, v)
	}
	return lowest
}

// Claimed says whether a placed pod uses a claim.
func (s *Snapshot) Claimed(namespace, name string) bool { return s.claimed[namespace+"/"+name] > 0 }

func claimKey(p *Pod, claim string) string { return p.Object.Namespace + "/" + claim }

// Remove takes a pod out.
func (s *Snapshot) Remove(uid types.UID) {
	p := s.pods[uid]
	if p == nil {
		return
	}
	s.count(p, -1)
	n := p.node
	delete(s.pods, uid)
	delete(n.Pods, uid)
	n.Requested.Add(&p.Requests, -1)
	if s.priorities[p.Priority()]--; s.priorities[p.Priority()] == 0 {
		delete(s.priorities, p.Priority())
	}
	for _, hp := range p.Ports {
		if n.Ports[hp]--; n.Ports[hp] == 0 {
			delete(n.Ports, hp)
		}
	}
	for _, name := range p.Claims {
		if s.claimed[claimKey(p, name)]--; s.claimed[claimKey(p, name)] == 0 {
			delete(s.claimed, claimKey(p, name))
		}
	}
	if n.Object == nil && len(n.Pods) == 0 {
		delete(s.nodes, n.Name)
	}
}
