package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/volume"
)

const byClass = "class"

// storage is what the scheduler knows of claims and volumes: what the informers tell, and what it has decided itself
// and they may not show yet.
type storage struct {
	claims  *informer.Informer[*corev1.PersistentVolumeClaim]
	volumes *informer.Informer[*corev1.PersistentVolume]
	classes *informer.Informer[*storagev1.StorageClass]
	// promised says which claim a volume is about to go to.
	promised map[string]informer.Key
}

func newStorage(set *informer.Set, inbox *inbox) *storage {
	s := &storage{
		claims: informer.For[*corev1.PersistentVolumeClaim](set), volumes: informer.For[*corev1.PersistentVolume](set),
		classes: informer.For[*storagev1.StorageClass](set), promised: map[string]informer.Key{},
	}
	s.volumes.AddIndex(byClass, func(v *corev1.PersistentVolume) []string { return []string{volume.ClassOfVolume(v)} })
	s.claims.OnKey(inbox.claim)
	s.volumes.OnChange(func(_, _ *corev1.PersistentVolume) { inbox.storageChanged() })
	s.classes.OnChange(func(_, _ *storagev1.StorageClass) { inbox.storageChanged() })
	return s
}

// Claim implements snapshot.Storage.
func (s *storage) Claim(namespace, name string) *corev1.PersistentVolumeClaim {
	c, _ := s.claims.Get(namespace, name)
	return c
}

// Volume implements snapshot.Storage.
func (s *storage) Volume(name string) *corev1.PersistentVolume {
	v, _ := s.volumes.Get("", name)
	return v
}

// Class implements snapshot.Storage.
func (s *storage) Class(name string) *storagev1.StorageClass {
	c, _ := s.classes.Get("", name)
	return c
}

// Free implements snapshot.Storage.
func (s *storage) Free(class string, claim *corev1.PersistentVolumeClaim) []*corev1.PersistentVolume {
	var out []*corev1.PersistentVolume
	for _, v := range s.volumes.ByIndex(byClass, class) {
		if to, promised := s.promised[v.Name]; !promised || to == informer.KeyOf(claim) {
			out = append(out, v)
		}
	}
	return out
}
