package server

import (
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/services/api/registry"
)

// writer is how an update of the main resource, or of a subresource that has its form, meets the stored object.
type writer struct {
	prepare func(obj, old registry.Object)
	// status: validated as a status, not as a whole.
	status bool
}

// partWriters are the subresources that write a part of the object which nobody else may.
var partWriters = map[string]writer{
	"namespaces/finalize": {prepare: func(obj, old registry.Object) {
		finalizers := obj.(*corev1.Namespace).Spec.Finalizers
		meta := old.DeepCopyObject().(*corev1.Namespace)
		meta.Spec.Finalizers = finalizers
		*obj.(*corev1.Namespace) = *meta
	}, status: true},
}

func (r *request) writer() (writer, error) {
	switch r.subresource {
	case "":
		return writer{prepare: r.PrepareUpdate}, nil
	case "status":
		if r.PrepareStatus != nil {
			return writer{prepare: r.PrepareStatus, status: true}, nil
		}
	default:
		if w, ok := partWriters[r.Resource+"/"+r.subresource]; ok {
			return w, nil
		}
	}
	if !r.hasSubresource() {
		return writer{}, errUnknownKind()
	}
	return writer{}, apierrors.NewMethodNotSupported(r.groupResource(), "update")
}

func (r *request) hasSubresource() bool {
	for _, sub := range r.Subresources {
		if sub.Name == r.subresource {
			return true
		}
	}
	return false
}
