package pods

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/replication/ownership"
)

// FromTemplate returns a pod of owner made after a template. It has no name yet but the base of one.
func FromTemplate(owner client.Object, template *corev1.PodTemplateSpec) (*corev1.Pod, error) {
	ref, err := ownership.Reference(owner)
	if err != nil {
		return nil, err
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: owner.GetNamespace(), GenerateName: baseName(owner.GetName()),
			Labels: maps.Clone(template.Labels), Annotations: maps.Clone(template.Annotations), Finalizers: slices.Clone(template.Finalizers),
			OwnerReferences: []metav1.OwnerReference{ref},
		},
		Spec: *template.Spec.DeepCopy(),
	}, nil
}

// baseName adds a dash where the result is still a valid beginning of a name.
func baseName(owner string) string {
	if base := owner + "-"; len(validation.NameIsDNSSubdomain(base, true)) == 0 {
		return base
	}
	return owner
}
