package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	gvkStorageClass = storagev1.SchemeGroupVersion.WithKind("StorageClass")
	gvkIngressClass = networkingv1.SchemeGroupVersion.WithKind("IngressClass")
)

// What marks a class as the default, and what names an Ingress' class in the old way.
var (
	defaultStorageAnnotations = []string{"storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"}
	defaultIngressAnnotations = []string{networkingv1.AnnotationIsDefaultIngressClass}
)

const annotationIngressClass = "kubernetes.io/ingress.class"

// defaultClasses gives claims and Ingresses that name no class the default one.
type defaultClasses struct{ Reader }

// Admit implements Plugin.
func (p defaultClasses) Admit(ctx context.Context, a *Attributes) error {
	if a.Operation != Create || a.Subresource != "" {
		return nil
	}
	switch o := a.Object.(type) {
	case *corev1.PersistentVolumeClaim:
		if _, old := o.Annotations[corev1.BetaStorageClassAnnotation]; old || o.Spec.StorageClassName != nil {
			return nil
		}
		return p.set(ctx, gvkStorageClass, defaultStorageAnnotations, &o.Spec.StorageClassName)
	case *networkingv1.Ingress:
		if _, old := o.Annotations[annotationIngressClass]; old || o.Spec.IngressClassName != nil {
			return nil
		}
		return p.set(ctx, gvkIngressClass, defaultIngressAnnotations, &o.Spec.IngressClassName)
	}
	return nil
}

// set writes the name of the default class; of several the newest counts.
func (p defaultClasses) set(ctx context.Context, gvk schema.GroupVersionKind, marks []string, into **string) error {
	classes, err := p.ReadAll(ctx, gvk, "")
	if err != nil {
		return fmt.Errorf("look for the default %s: %w", gvk.Kind, err)
	}
	best := -1
	for i, c := range classes {
		marked := false
		for _, mark := range marks {
			marked = marked || c.GetAnnotations()[mark] == "true"
		}
		if !marked {
			continue
		}
		// They come in the order of their names.
		if best < 0 || c.GetCreationTimestamp().After(classes[best].GetCreationTimestamp().Time) {
			best = i
		}
	}
	if best >= 0 {
		name := classes[best].GetName()
		*into = &name
	}
	return nil
}
