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
	class := &runtimev1.RuntimeClass{}
	if err := class.Unmarshal(data); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.classes[name] = class
	return nil
}

func (o *Objects) removeClass(name types.NamespacedName, _ Handler) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.classes, name)
}
