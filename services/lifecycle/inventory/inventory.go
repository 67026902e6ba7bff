// Package inventory knows every object of a cluster by little: what it is called, who owns it, and whether it is going.
// The garbage collector and the deletion of namespaces decide from it.
package inventory

import (
	"context"
	"strings"
	"sync"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
)

// Kind is a kind that the API serves. While it is served there is one Kind for it: compare pointers.
type Kind struct {
	Group, Version, Kind, Resource string
	Namespaced                     bool
	// List, Delete and DeleteCollection say which verbs the kind has.
	List, Delete, DeleteCollection bool
}

// APIVersion returns "v1" or "apps/v1".
func (k *Kind) APIVersion() string {
	if k.Group == "" {
		return k.Version
	}
	return k.Group + "/" + k.Version
}

// Owner is an owner reference.
type Owner struct {
	APIVersion, Kind, Name, UID string
	// Block keeps the owner, deleted in the foreground, until this object has gone.
	Block bool
}

// Object is one object as of one moment. It does not change.
type Object struct {
	Kind                 *Kind
	Namespace, Name, UID string
	Owners               []Owner
	Finalizers           []string
	// Deleting: the object has a deletion timestamp.
	Deleting bool
}

// Inventory follows all kinds that can be listed and watched, but for Events, which own nothing and nobody. It is safe
// for concurrent use.
type Inventory struct {
	rpc       apiv1.ResourceServiceClient
	discovery apiv1.DiscoveryServiceClient
	log       *zap.Logger
	handlers  []func(old, new *Object)
	synced    chan struct{}

	mu         sync.RWMutex
	kinds      []*Kind
	objects    map[string]*Object
	dependents map[string]map[string]*Object
	content    map[string]map[*Kind]int
}

// New returns an empty inventory; Run fills it.
func New(conn grpc.ClientConnInterface, log *zap.Logger) *Inventory {
	return &Inventory{
		rpc: apiv1.NewResourceServiceClient(conn), discovery: apiv1.NewDiscoveryServiceClient(conn), log: log,
		synced: make(chan struct{}), objects: map[string]*Object{}, dependents: map[string]map[string]*Object{}, content: map[string]map[*Kind]int{},
	}
}

// OnChange calls fn for every change that matters here: not for changes of anything that an Object does not hold. Old
// is nil for an addition, new for a deletion. Calls come from several goroutines, those about one kind in order; fn
// must not block. All calls of OnChange come before Run.
func (inv *Inventory) OnChange(fn func(old, new *Object)) { inv.handlers = append(inv.handlers, fn) }

// WaitSynced blocks until every kind has been listed once.
func (inv *Inventory) WaitSynced(ctx context.Context) error {
	select {
	case <-inv.synced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Kinds returns what is served, one version of each kind, those that cannot be listed too.
func (inv *Inventory) Kinds() []*Kind {
	inv.mu.RLock()
	defer inv.mu.RUnlock()
	return inv.kinds
}

// Lookup returns the kind that an owner reference names, whatever version it gives; nil when it is not served.
func (inv *Inventory) Lookup(apiVersion, kind string) *Kind {
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		group = ""
	}
	for _, k := range inv.Kinds() {
		if k.Group == group && k.Kind == kind {
			return k
		}
	}
	return nil
}

// Get returns the object with a uid, nil when there is none.
func (inv *Inventory) Get(uid string) *Object {
	inv.mu.RLock()
	defer inv.mu.RUnlock()
	return inv.objects[uid]
}

// Dependents returns the objects that name uid as an owner, in no order.
func (inv *Inventory) Dependents(uid string) []*Object {
	inv.mu.RLock()
	defer inv.mu.RUnlock()
	out := make([]*Object, 0, len(inv.dependents[uid]))
	for _, o := range inv.dependents[uid] {
		out = append(out, o)
	}
	return out
}

// Content counts the objects in a namespace by kind.
func (inv *Inventory) Content(namespace string) map[*Kind]int {
	inv.mu.RLock()
	defer inv.mu.RUnlock()
	out := make(map[*Kind]int, len(inv.content[namespace]))
	for k, n := range inv.content[namespace] {
		out[k] = n
	}
	return out
}

// In returns the objects in a namespace, in no order. It looks at every object of the cluster.
func (inv *Inventory) In(namespace string) []*Object {
	inv.mu.RLock()
	defer inv.mu.RUnlock()
	var out []*Object
	for _, o := range inv.objects {
		if o.Namespace == namespace {
			out = append(out, o)
		}
	}
	return out
}

// put stores an object and tells whether anything about it is new.
func (inv *Inventory) put(obj *Object) {
	inv.mu.Lock()
	old := inv.objects[obj.UID]
	if old != nil && old.same(obj) {
		inv.mu.Unlock()
		return
	}
	if old != nil {
		inv.unlink(old)
	}
	inv.objects[obj.UID] = obj
	for _, o := range obj.Owners {
		if inv.dependents[o.UID] == nil {
			inv.dependents[o.UID] = make(map[string]*Object, 1)
		}
		inv.dependents[o.UID][obj.UID] = obj
	}
	if obj.Namespace != "" {
		if inv.content[obj.Namespace] == nil {
			inv.content[obj.Namespace] = map[*Kind]int{}
		}
		inv.content[obj.Namespace][obj.Kind]++
	}
	inv.mu.Unlock()
	inv.tell(old, obj)
}

func (inv *Inventory) drop(uid string) {
	inv.mu.Lock()
	old := inv.objects[uid]
	if old != nil {
		inv.unlink(old)
	}
	inv.mu.Unlock()
	if old != nil {
		inv.tell(old, nil)
	}
}

// unlink removes an object and what points to it; the lock is held.
func (inv *Inventory) unlink(obj *Object) {
	delete(inv.objects, obj.UID)
	for _, o := range obj.Owners {
		delete(inv.dependents[o.UID], obj.UID)
		if len(inv.dependents[o.UID]) == 0 {
			delete(inv.dependents, o.UID)
		}
	}
	if counts := inv.content[obj.Namespace]; counts != nil {
		if counts[obj.Kind]--; counts[obj.Kind] == 0 {
			delete(counts, obj.Kind)
		}
		if len(counts) == 0 {
			delete(inv.content, obj.Namespace)
		}
	}
}

// dropKind forgets every object of a kind but those that keep says.
func (inv *Inventory) dropKind(kind *Kind, keep map[string]bool) {
	inv.mu.RLock()
	var gone []string
	for uid, obj := range inv.objects {
		if obj.Kind == kind && !keep[uid] {
			gone = append(gone, uid)
		}
	}
	inv.mu.RUnlock()
	for _, uid := range gone {
		inv.drop(uid)
	}
}

func (inv *Inventory) tell(old, new *Object) {
	for _, fn := range inv.handlers {
		fn(old, new)
	}
}

func (o *Object) same(other *Object) bool {
	if o.Deleting != other.Deleting || len(o.Owners) != len(other.Owners) || len(o.Finalizers) != len(other.Finalizers) {
		return false
	}
	for i := range o.Owners {
		if o.Owners[i] != other.Owners[i] {
			return false
		}
	}
	for i := range o.Finalizers {
		if o.Finalizers[i] != other.Finalizers[i] {
			return false
		}
	}
	return true
}
