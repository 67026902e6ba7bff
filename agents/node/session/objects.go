package session

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/agents/node/checkpoint"
	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
)

// Objects are what the control plane has assigned to the node: its pods, the ConfigMaps, Secrets and claims with their
// volumes and the RuntimeClasses that they use, the Services that they are told of, and the volumes that the node keeps.
// Reading is safe for concurrent use; what is returned must not be changed.
type Objects struct {
	mu         sync.RWMutex
	pods       map[types.NamespacedName]types.UID
	configMaps map[types.NamespacedName]*corev1.ConfigMap
	secrets    map[types.NamespacedName]*corev1.Secret
	services   map[types.NamespacedName]*corev1.Service
	claims     map[types.NamespacedName]*corev1.PersistentVolumeClaim
	volumes    map[types.NamespacedName]*corev1.PersistentVolume
	classes    map[types.NamespacedName]*runtimev1.RuntimeClass

	// seen holds what a snapshot has named so far; nil outside of one.
	seen map[string]bool
	kept *checkpoint.Store
}

// NewObjects returns an empty set; what comes into it is kept.
func NewObjects(kept *checkpoint.Store) *Objects {
	return &Objects{
		kept:       kept,
		pods:       map[types.NamespacedName]types.UID{},
		configMaps: map[types.NamespacedName]*corev1.ConfigMap{},
		secrets:    map[types.NamespacedName]*corev1.Secret{},
		services:   map[types.NamespacedName]*corev1.Service{},
		claims:     map[types.NamespacedName]*corev1.PersistentVolumeClaim{},
		volumes:    map[types.NamespacedName]*corev1.PersistentVolume{},
		classes:    map[types.NamespacedName]*runtimev1.RuntimeClass{},
	}
}

// ConfigMap returns a ConfigMap, or nil.
func (o *Objects) ConfigMap(namespace, name string) *corev1.ConfigMap {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.configMaps[types.NamespacedName{Namespace: namespace, Name: name}]
}

// Secret returns a Secret, or nil.
func (o *Objects) Secret(namespace, name string) *corev1.Secret {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.secrets[types.NamespacedName{Namespace: namespace, Name: name}]
}

// begin starts a snapshot: what it does not name is gone when it is complete.
func (o *Objects) begin() { o.seen = map[string]bool{} }

// apply takes one message: first what pods use, then the pods.
func (o *Objects) apply(message *nodev1.StreamResponse, handler Handler) error {
	drained(message, handler) // pods that are known, before they begin to stop
	for _, pods := range []bool{false, true} {
		for _, c := range message.GetChanges() {
			if (c.GetKind() == "Pod") != pods {
				continue
			}
			if err := o.change(c, handler); err != nil {
				return decodeError(c, err)
			}
		}
	}
	drained(message, handler) // pods that have come with the message
	if message.GetSnapshotComplete() && o.seen != nil {
		o.complete(handler)
	}
	return nil
}

func drained(message *nodev1.StreamResponse, handler Handler) {
	for _, uid := range message.GetDrained() {
		handler.Drained(types.UID(uid))
	}
}

func key(kind string, name types.NamespacedName) string {
	return checkpoint.Key(kind, name.Namespace, name.Name)
}

func (o *Objects) change(c *nodev1.Change, handler Handler) error {
	name := types.NamespacedName{Namespace: c.GetNamespace(), Name: c.GetName()}
	apply, ok := kinds[c.GetKind()]
	if !ok {
		return nil // from a newer control plane
	}
	o.kept.Note(c)
	switch c.GetOp() {
	case nodev1.Change_OP_SET:
		if o.seen != nil {
			o.seen[key(c.GetKind(), name)] = true
		}
		return apply.set(o, name, c.GetObject(), handler)
	case nodev1.Change_OP_REMOVE:
		apply.remove(o, name, handler)
		return nil
	}
	return errUnknownChange
}

// kinds is what is done with each kind of object.
var kinds = map[string]struct {
	set    func(*Objects, types.NamespacedName, []byte, Handler) error
	remove func(*Objects, types.NamespacedName, Handler)
}{
	"Pod":       {(*Objects).setPod, (*Objects).removePod},
	"Node":      {(*Objects).setNode, func(*Objects, types.NamespacedName, Handler) {}},
	"ConfigMap": {(*Objects).setConfigMap, (*Objects).removeConfigMap},
	"Secret":    {(*Objects).setSecret, (*Objects).removeSecret},
	"Service":   {(*Objects).setService, (*Objects).removeService},

	"PersistentVolumeClaim": {(*Objects).setClaim, (*Objects).removeClaim},
	"PersistentVolume":      {(*Objects).setVolume, (*Objects).removeVolume},
	"RuntimeClass":          {(*Objects).setClass, (*Objects).removeClass},
}

func (o *Objects) setPod(name types.NamespacedName, data []byte, handler Handler) error {
	pod := &corev1.Pod{}
	if err := pod.Unmarshal(data); err != nil {
		return err
	}
	o.mu.Lock()
	old := o.pods[name]
	o.pods[name] = pod.UID
	o.mu.Unlock()
	if old != "" && old != pod.UID {
		handler.RemovePod(old) // another pod has taken its name
	}
	if pod.DeletionTimestamp != nil {
		o.kept.Hurry()
	}
	handler.SetPod(pod)
	return nil
}

func (o *Objects) removePod(name types.NamespacedName, handler Handler) {
	o.mu.Lock()
	uid := o.pods[name]
	delete(o.pods, name)
	o.mu.Unlock()
	if uid != "" {
		handler.RemovePod(uid)
	}
}

func (o *Objects) setNode(_ types.NamespacedName, data []byte, handler Handler) error {
	node := &corev1.Node{}
	if err := node.Unmarshal(data); err != nil {
		return err
	}
	handler.SetNode(node)
	return nil
}

// keep decodes an object and puts it into one of the maps, which are made once.
func keep[T any, P interface {
	*T
	Unmarshal([]byte) error
}](o *Objects, into map[types.NamespacedName]P, name types.NamespacedName, data []byte) (P, error) {
	object := P(new(T))
	if err := object.Unmarshal(data); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	into[name] = object
	return object, nil
}

// drop takes an object out of one of the maps.
func drop[P any](o *Objects, from map[types.NamespacedName]P, name types.NamespacedName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(from, name)
}

func (o *Objects) setConfigMap(name types.NamespacedName, data []byte, handler Handler) error {
	if _, err := keep(o, o.configMaps, name, data); err != nil {
		return err
	}
	handler.ObjectChanged(name.Namespace)
	return nil
}

func (o *Objects) removeConfigMap(name types.NamespacedName, handler Handler) {
	drop(o, o.configMaps, name)
	handler.ObjectChanged(name.Namespace)
}

func (o *Objects) setSecret(name types.NamespacedName, data []byte, handler Handler) error {
	if _, err := keep(o, o.secrets, name, data); err != nil {
		return err
	}
	handler.ObjectChanged(name.Namespace)
	return nil
}

func (o *Objects) removeSecret(name types.NamespacedName, handler Handler) {
	drop(o, o.secrets, name)
	handler.ObjectChanged(name.Namespace)
}

// complete ends a snapshot: what it has not named no longer exists.
func (o *Objects) complete(handler Handler) {
	seen := o.seen
	o.seen = nil
	o.kept.Complete(seen)
	o.mu.Lock()
	known := map[types.UID]bool{}
	for name, uid := range o.pods {
		if !seen[key("Pod", name)] {
			delete(o.pods, name)
			continue
		}
		known[uid] = true
	}
	forgetUnseen(seen, "ConfigMap", o.configMaps)
	forgetUnseen(seen, "Secret", o.secrets)
	forgetUnseen(seen, "Service", o.services)
	forgetUnseen(seen, "PersistentVolumeClaim", o.claims)
	forgetUnseen(seen, "PersistentVolume", o.volumes)
	forgetUnseen(seen, "RuntimeClass", o.classes)
	o.mu.Unlock()
	handler.Synced(func(uid types.UID) bool { return known[uid] })
}

func forgetUnseen[T any](seen map[string]bool, kind string, objects map[types.NamespacedName]T) {
	for name := range objects {
		if !seen[key(kind, name)] {
			delete(objects, name)
		}
	}
}
