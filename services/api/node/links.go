package node

import (
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/services/api/watch"
)

// Containers are told in their environment where the Services of their namespace are. So a pod uses all of them: a ref
// without a name stands for the Services of its namespace.

// links are the Services that a pod's containers are told of.
func links(pod *corev1.Pod) []ref {
	out := []ref{{kindService, corev1.NamespaceDefault, "kubernetes"}}
	if on := pod.Spec.EnableServiceLinks; on == nil || *on {
		out = append(out, allServices(pod.Namespace))
	}
	return out
}

func allServices(namespace string) ref { return ref{kindService, namespace, ""} }

func (r ref) isAllServices() bool { return r.gvk == kindService && r.name == "" }

// markLinked marks a Service for a node whose pods are told of it.
func (f *feed) markLinked(r ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.used[r] > 0 || f.used[allServices(r.namespace)] > 0 {
		f.dirty[r] = struct{}{}
		f.signal()
	}
}

// linked tells whether a node should have a Service.
func (o *outlet) linked(r ref) bool {
	return o.feed.uses(r) || o.feed.uses(allServices(r.namespace))
}

// services brings the node up to date about all Services of a namespace.
func (o *outlet) services(namespace string) error {
	if k := o.service.hub.kinds[kindService]; k != nil && o.feed.uses(allServices(namespace)) {
		for _, e := range k.collection.List(watch.Query{Namespace: namespace}).Entries {
			if err := o.one(ref{kindService, namespace, e.Name}); err != nil {
				return err
			}
		}
	}
	for r := range o.sent {
		if r.gvk == kindService && r.namespace == namespace && !o.linked(r) {
			o.gone(r)
		}
	}
	return nil
}
