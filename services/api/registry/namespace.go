package registry

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func namespace() *Kind {
	return define(Spec[*corev1.Namespace]{
		GVK: core("Namespace"), Resource: "namespaces", Singular: "namespace", ShortNames: []string{"ns"},
		// A collection of namespaces is not deleted in one go: each has content to be emptied first.
		Verbs:   []string{"create", "delete", "get", "list", "patch", "update", "watch"},
		New:     func() *corev1.Namespace { return &corev1.Namespace{} },
		NewList: func() runtime.Object { return &corev1.NamespaceList{} },
		Default: defaultNamespace,
		PrepareCreate: func(n *corev1.Namespace) {
			n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
			for _, f := range n.Spec.Finalizers {
				if f == corev1.FinalizerKubernetes {
					return
				}
			}
			n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
		},
		PrepareUpdate: func(n, old *corev1.Namespace) { n.Spec, n.Status = old.Spec, old.Status },
		PrepareStatus: func(n, old *corev1.Namespace) { n.Spec = old.Spec },
		Validate: func(n *corev1.Namespace) field.ErrorList {
			var e check.Errors
			validateFinalizers(&e, n)
			return e.List()
		},
		ValidateStatus: validateNamespaceStatus,
		ValidateName:   validation.ValidateNamespaceName,
		Columns:        columns("Name|Status|Age"),
		Cells: func(n *corev1.Namespace, now time.Time) []any {
			return []any{n.Name, string(n.Status.Phase), age(n.CreationTimestamp, now)}
		},
		Fields: func(n *corev1.Namespace) fields.Set { return fields.Set{"status.phase": string(n.Status.Phase)} },
		Subresources: []Subresource{{Name: "finalize", Verbs: []string{"update"}, Prepare: both(finalizeNamespace), Validate: comparer(func(n, _ *corev1.Namespace) field.ErrorList {
			var e check.Errors
			validateFinalizers(&e, n)
			return e.List()
		})}},
	})
}

// defaultNamespace gives every namespace the label by which selectors can name it.
func defaultNamespace(n *corev1.Namespace) {
	if n.Name != "" {
		metav1.SetMetaDataLabel(&n.ObjectMeta, corev1.LabelMetadataName, n.Name)
	}
	if n.Status.Phase == "" {
		n.Status.Phase = corev1.NamespaceActive
	}
}

// finalizeNamespace lets the one who emptied a namespace give it free.
func finalizeNamespace(n, old *corev1.Namespace) {
	finalizers, version := n.Spec.Finalizers, n.ResourceVersion
	*n = *old.DeepCopy()
	n.Spec.Finalizers, n.ResourceVersion = finalizers, version
}

func validateFinalizers(e *check.Errors, n *corev1.Namespace) {
	for i, f := range n.Spec.Finalizers {
		if f != corev1.FinalizerKubernetes {
			e.Add(validation.ValidateFinalizerName(string(f), field.NewPath("spec", "finalizers").Index(i))...)
		}
	}
}

// validateNamespaceStatus: a namespace is on its way out exactly when it was deleted.
func validateNamespaceStatus(n, _ *corev1.Namespace) field.ErrorList {
	var e check.Errors
	p := field.NewPath("status", "Phase")
	if n.DeletionTimestamp.IsZero() {
		e.If(n.Status.Phase != corev1.NamespaceActive, p, n.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")
	} else {
		e.If(n.Status.Phase != corev1.NamespaceTerminating, p, n.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")
	}
	return e.List()
}
