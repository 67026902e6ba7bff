package proxy

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"karve.dev/karve/agents/proxy/dataplane"
	"karve.dev/karve/agents/proxy/desired"
	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/clusterdns"
)

// cluster is a proxy's copy of what it balances. It belongs to one goroutine.
type cluster struct {
	node     string
	services map[dataplane.ServiceKey]*service
	slices   map[sliceKey]*discoveryv1.EndpointSlice
	nodes    map[string]*corev1.Node
	view     desired.View

	dirty    map[dataplane.ServiceKey]bool // whose servers are to be computed anew
	revision int64                         // the store's revision that the copy is at
	complete bool                          // a whole snapshot has arrived at least once

	snapshot map[objectKey]bool // what the snapshot under way has named; nil when none is
}

type sliceKey struct{ namespace, name string }

type objectKey struct{ kind, namespace, name string }

// service is one Service with its slices; object is nil while only slices have been seen.
type service struct {
	object   *corev1.Service
	slices   map[string]*discoveryv1.EndpointSlice
	revision int64 // the newest among the Service and its slices
	servers  []dataplane.VirtualServer
}

func newCluster(node string) *cluster {
	return &cluster{
		node: node, services: map[dataplane.ServiceKey]*service{}, slices: map[sliceKey]*discoveryv1.EndpointSlice{},
		nodes: map[string]*corev1.Node{}, dirty: map[dataplane.ServiceKey]bool{}, view: desired.Look(node, nil),
	}
}

// beginSnapshot starts a stream: what the snapshot does not name has gone.
func (c *cluster) beginSnapshot() { c.snapshot = map[objectKey]bool{} }

// take takes a message over. An object that cannot be read is skipped and named in the error.
func (c *cluster) take(msg *nodev1.StreamResponse) error {
	var firstErr error
	nodes := false
	for _, change := range msg.Changes {
		if err := c.change(change); err != nil && firstErr == nil {
			firstErr = fmt.Errorf("%s %s/%s: %w", change.Kind, change.Namespace, change.Name, err)
		}
		nodes = nodes || change.Kind == "Node"
	}
	c.revision = max(c.revision, msg.Revision)
	if msg.SnapshotComplete && c.snapshot != nil {
		nodes = c.endSnapshot(msg.Revision) || nodes
	}
	if nodes {
		c.look()
	}
	return firstErr
}

func (c *cluster) change(change *nodev1.Change) error {
	var object client.Object
	if change.Op == nodev1.Change_OP_SET {
		var err error
		if object, err = decode(change); err != nil || object == nil {
			return err
		}
	}
	if c.snapshot != nil {
		c.snapshot[objectKey{change.Kind, change.Namespace, change.Name}] = true
	}
	c.put(change.Kind, change.Namespace, change.Name, object, change.Revision)
	return nil
}

// put stores an object, or removes it when object is nil.
func (c *cluster) put(kind, namespace, name string, object client.Object, revision int64) {
	switch kind {
	case "Service":
		svc, _ := object.(*corev1.Service)
		c.putService(dataplane.ServiceKey{Namespace: namespace, Name: name}, svc, revision)
	case "EndpointSlice":
		slice, _ := object.(*discoveryv1.EndpointSlice)
		c.putSlice(sliceKey{namespace, name}, slice, revision)
	case "Node":
		if node, ok := object.(*corev1.Node); ok {
			c.nodes[name] = node
		} else {
			delete(c.nodes, name)
		}
	}
}

func (c *cluster) service(key dataplane.ServiceKey) *service {
	s := c.services[key]
	if s == nil {
		s = &service{slices: map[string]*discoveryv1.EndpointSlice{}}
		c.services[key] = s
	}
	return s
}

func (c *cluster) touch(key dataplane.ServiceKey, s *service, revision int64) {
	s.revision = max(s.revision, revision)
	c.dirty[key] = true
	if s.object == nil && len(s.slices) == 0 {
		delete(c.services, key)
	}
}

func (c *cluster) putService(key dataplane.ServiceKey, svc *corev1.Service, revision int64) {
	s := c.service(key)
	s.object = svc
	c.touch(key, s, revision)
}

func (c *cluster) putSlice(key sliceKey, slice *discoveryv1.EndpointSlice, revision int64) {
	if old := c.slices[key]; old != nil {
		owner := ownerOf(old)
		s := c.service(owner)
		delete(s.slices, key.name)
		c.touch(owner, s, revision)
	}
	if slice == nil || slice.Labels[discoveryv1.LabelManagedBy] == clusterdns.ManagedBy {
		delete(c.slices, key)
		return
	}
	c.slices[key] = slice
	owner := ownerOf(slice)
	s := c.service(owner)
	s.slices[key.name] = slice
	c.touch(owner, s, revision)
}

func ownerOf(slice *discoveryv1.EndpointSlice) dataplane.ServiceKey {
	return dataplane.ServiceKey{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
}

// endSnapshot removes what the snapshot did not name; it tells whether a node went.
func (c *cluster) endSnapshot(revision int64) (nodes bool) {
	gone := func(kind, namespace, name string) {
		if !c.snapshot[objectKey{kind, namespace, name}] {
			c.put(kind, namespace, name, nil, revision)
			nodes = nodes || kind == "Node"
		}
	}
	for key := range maps.Clone(c.slices) {
		gone("EndpointSlice", key.namespace, key.name)
	}
	for key, s := range maps.Clone(c.services) {
		if s.object != nil {
			gone("Service", key.Namespace, key.Name)
		}
	}
	for name := range maps.Clone(c.nodes) {
		gone("Node", "", name)
	}
	c.snapshot, c.complete = nil, true
	return nodes
}

// look renews the view of the nodes; when that changed every Service may be balanced differently.
func (c *cluster) look() {
	view := desired.Look(c.node, c.nodes)
	if reflect.DeepEqual(view, c.view) {
		return
	}
	c.view = view
	for key := range c.services {
		c.dirty[key] = true
	}
}

// state computes what changed and returns everything that is to be programmed, with the Services that lost a
// frontend to another and the Services that changed. extra are servers that are not Services'.
func (c *cluster) state(extra []dataplane.VirtualServer) (state dataplane.State, conflicts map[dataplane.ServiceKey]error, changed []dataplane.ServiceKey) {
	all := make(map[dataplane.ServiceKey][]dataplane.VirtualServer, len(c.services))
	for key := range c.dirty {
		changed = append(changed, key)
		if s := c.services[key]; s != nil {
			s.servers = nil
			if s.object != nil {
				s.servers = desired.Service(c.view, s.object, s.ordered())
			}
		}
	}
	clear(c.dirty)
	for key, s := range c.services {
		if servers := without(s.servers, extra); len(servers) > 0 {
			all[key] = servers
		}
	}
	if len(extra) > 0 {
		all[dataplane.ServiceKey{}] = extra
	}
	servers, conflicts := desired.Merge(all)
	delete(conflicts, dataplane.ServiceKey{})
	return dataplane.State{Servers: servers, LocalPods: c.view.LocalPods, HostPods: c.view.HostPods}, conflicts, changed
}

// ordered returns the slices of a Service in the order of their names.
func (s *service) ordered() []*discoveryv1.EndpointSlice {
	out := make([]*discoveryv1.EndpointSlice, 0, len(s.slices))
	for _, name := range slices.Sorted(maps.Keys(s.slices)) {
		out = append(out, s.slices[name])
	}
	return out
}

// storagePrefix begins an object that is wrapped in Kubernetes' storage envelope.
var storagePrefix = []byte("k8s\x00")

// decode reads an object of a kind that matters here; of others it returns nil.
func decode(change *nodev1.Change) (client.Object, error) {
	raw := change.Object
	if wrapped, ok := bytes.CutPrefix(raw, storagePrefix); ok {
		var envelope runtime.Unknown
		if err := envelope.Unmarshal(wrapped); err != nil {
			return nil, fmt.Errorf("decode envelope: %w", err)
		}
		raw = envelope.Raw
	}
	var object interface {
		client.Object
		Unmarshal([]byte) error
	}
	switch change.Kind {
	case "Service":
		object = &corev1.Service{}
	case "EndpointSlice":
		object = &discoveryv1.EndpointSlice{}
	case "Node":
		object = &corev1.Node{}
	default:
		return nil, nil
	}
	if err := object.Unmarshal(raw); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	object.SetManagedFields(nil)
	return object, nil
}
