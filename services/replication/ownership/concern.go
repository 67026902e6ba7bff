package ownership

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/informer"
)

// OwnerOf returns the key of an object's controller; ok is false when it has none of that kind.
func OwnerOf(obj client.Object, kind string) (key informer.Key, ok bool) {
	ref := metav1.GetControllerOfNoCopy(obj)
	if ref == nil || ref.Kind != kind {
		return informer.Key{}, false
	}
	return informer.Key{Namespace: obj.GetNamespace(), Name: ref.Name}, true
}

// OnLoss calls fn with the controller of each object that goes and whose controller is of a kind.
func OnLoss[T client.Object](i *informer.Informer[T], kind string, fn func(owner informer.Key)) {
	i.OnChange(func(old, new T) {
		var none T
		if client.Object(new) != client.Object(none) {
			return
		}
		if key, ok := OwnerOf(old, kind); ok {
			fn(key)
		}
	})
}

// Concerned returns whom of a kind a pod's change concerns: whose it was and is or, while it is nobody's, who may adopt it.
// Old or new is nil for a pod that came or went.
func Concerned[T client.Object](old, new *corev1.Pod, kind string, all *informer.Informer[T], selector func(T) *metav1.LabelSelector) []informer.Key {
	var out []informer.Key
	for _, p := range []*corev1.Pod{old, new} {
		if p == nil {
			continue
		}
		if key, ok := OwnerOf(p, kind); ok {
			out = append(out, key)
		}
	}
	if new == nil || new.DeletionTimestamp != nil || metav1.GetControllerOfNoCopy(new) != nil || len(new.Labels) == 0 {
		return out
	}
	for _, one := range all.List(new.Namespace, nil) {
		if s, err := metav1.LabelSelectorAsSelector(selector(one)); err == nil && s.Matches(labels.Set(new.Labels)) {
			out = append(out, informer.KeyOf(one))
		}
	}
	return out
}
