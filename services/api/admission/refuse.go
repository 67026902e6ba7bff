package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// forbidden refuses the write; an error that does so already is returned as it is.
func (a *Attributes) forbidden(err error) error {
	if apierrors.IsForbidden(err) {
		return err
	}
	name := a.Name
	if name == "" && a.Object != nil {
		name = a.Object.GetGenerateName()
	}
	if name == "" {
		name = "Unknown"
	}
	return apierrors.NewForbidden(a.GroupResource(), name, err)
}

// ReadNamespace returns the namespace of the write; it is read once for all plugins, which must not change it.
func (a *Attributes) ReadNamespace(ctx context.Context, r Reader) (*corev1.Namespace, error) {
	if a.namespace != nil {
		return a.namespace, nil
	}
	obj, err := r.Read(ctx, gvkNamespace, "", a.Namespace)
	if err != nil {
		return nil, err
	}
	a.namespace = obj.(*corev1.Namespace)
	return a.namespace, nil
}
