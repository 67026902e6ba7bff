package binder

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/volume"
)

// lookup answers one decision's questions. What the informers do not have is asked for: one informer may be behind
// the other, and to think a volume or claim gone that is only new would cost data.
type lookup struct {
	*Controller
	ctx context.Context
	err error
}

func (l *lookup) world() *world {
	return &world{
		volume: l.volume, claim: l.claim, waiting: l.waiting,
		volumes: func(class string) []*corev1.PersistentVolume { return l.volumes.ByIndex(byClass, class) },
		class: func(name string) *storagev1.StorageClass {
			class, _ := l.classes.Get("", name)
			return class
		},
		byDefault: func() *storagev1.StorageClass { return volume.Default(l.classes.List("", nil)) },
	}
}

func (l *lookup) volume(name string) *corev1.PersistentVolume {
	if v, ok := l.volumes.Get("", name); ok {
		return v
	}
	v := &corev1.PersistentVolume{}
	if !l.read(l.client.Get(l.ctx, v, "", name)) {
		return nil
	}
	return v
}

func (l *lookup) claim(ref *corev1.ObjectReference) *corev1.PersistentVolumeClaim {
	if c, ok := l.claims.Get(ref.Namespace, ref.Name); ok && c.UID == ref.UID {
		return c
	}
	c := &corev1.PersistentVolumeClaim{}
	if !l.read(l.client.Get(l.ctx, c, ref.Namespace, ref.Name)) {
		return nil
	}
	return c
}

// read takes the outcome of asking; what cannot be found out spoils the decision.
func (l *lookup) read(err error) bool {
	if err != nil && !apierrors.IsNotFound(err) {
		l.err = fmt.Errorf("look for a claim's volume: %w", err)
	}
	return err == nil
}

func (l *lookup) waiting(c *corev1.PersistentVolumeClaim) string {
	first := ""
	for _, p := range l.pods.Of(informer.KeyOf(c)) {
		if p.Spec.NodeName == "" && p.DeletionTimestamp == nil && (first == "" || p.Name < first) {
			first = p.Name
		}
	}
	return first
}
