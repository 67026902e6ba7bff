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
	if _, err := keep(o, o.claims, name, data); err != nil {
		return err
	}
	handler.ClaimChanged(name.Namespace)
	return nil
}

func (o *Objects) removeClaim(name types.NamespacedName, _ Handler) {
	drop(o, o.claims, name)
}

func (o *Objects) setVolume(name types.NamespacedName, data []byte, handler Handler) error {
	object, err := keep(o, o.volumes, name, data)
	if err != nil {
		return err
	}
	if ref := object.Spec.ClaimRef; ref != nil {
		handler.ClaimChanged(ref.Namespace)
	}
	handler.VolumeChanged()
	return nil
}

func (o *Objects) removeVolume(name types.NamespacedName, _ Handler) {
	drop(o, o.volumes, name)
}
