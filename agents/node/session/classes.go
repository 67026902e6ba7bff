package session

import (
	runtimev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/types"
)

// RuntimeClass returns a RuntimeClass, or nil.
func (o *Objects) RuntimeClass(name string) *runtimev1.RuntimeClass {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.classes[types.NamespacedName{Name: name}]
}

// setClass takes a RuntimeClass. Its handler never changes, so nobody must be told.
func (o *Objects) setClass(name types.NamespacedName, data []byte, _ Handler) error {
	_, err := keep(o, o.classes, name, data)
	return err
}

func (o *Objects) removeClass(name types.NamespacedName, _ Handler) {
	drop(o, o.classes, name)
}
