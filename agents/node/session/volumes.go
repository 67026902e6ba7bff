package session

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Claim returns a claim, or nil.
func (o *Objects) Claim(namespace, name string) *corev1.PersistentVolumeClaim {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.claims[types.NamespacedName{Namespace: namespace, Name: name}]
}

// Volume returns a volume, or nil.
func (o *Objects) Volume(name string) *corev1.PersistentVolume {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.volumes[types.NamespacedName{Name: name}]
}

// Volumes returns all volumes that the node knows, in no order.
func (o *Objects) Volumes() []*corev1.PersistentVolume {
	o.mu.RLock()
	defer o.mu.RUnlock()
	out := make([]*corev1.PersistentVolume, 0, len(o.volumes))
	for _, v := range o.volumes {
		out = append(out, v)
	}
	return out
}

func (o *Objects) setClaim(name types.NamespacedName, data []byte, handler Handler) error {
	object := &corev1.PersistentVolumeClaim{}
	if err := object.Unmarshal(data); err != nil {
		return err
	}
	o.mu.Lock()
	o.claims[name] = object
	o.mu.Unlock()
	handler.ClaimChanged(name.Namespace)
	return nil
}

func (o *Objects) removeClaim(name types.NamespacedName, _ Handler) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.claims, name)
}

func (o *Objects) setVolume(name types.NamespacedName, data []byte, handler Handler) error {
	object := &corev1.PersistentVolume{}
	if err := object.Unmarshal(data); err != nil {
		return err
	}
	o.mu.Lock()
	o.volumes[name] = object
	o.mu.Unlock()
	if ref := object.Spec.ClaimRef; ref != nil {
		handler.ClaimChanged(ref.Namespace)
	}
	handler.VolumeChanged()
	return nil
}

func (o *Objects) removeVolume(name types.NamespacedName, _ Handler) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.volumes, name)
}
