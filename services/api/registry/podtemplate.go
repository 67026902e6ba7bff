package registry

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

func podTemplate() *Kind {
	return define(Spec[*corev1.PodTemplate]{
		GVK: core("PodTemplate"), Resource: "podtemplates", Singular: "podtemplate", Namespaced: true,
		New:     func() *corev1.PodTemplate { return &corev1.PodTemplate{} },
		NewList: func() runtime.Object { return &corev1.PodTemplateList{} },
		Life:    counted(func(t *corev1.PodTemplate) any { return t.Template }),
		Default: func(t *corev1.PodTemplate) { podspec.Default(&t.Template.Spec) },
		Validate: func(t *corev1.PodTemplate) field.ErrorList {
			var e check.Errors
			podspec.ValidateTemplate(&e, field.NewPath("template"), &t.Template)
			return e.List()
		},
		Columns: columns("Name|Containers|Images|Pod Labels"),
		Cells: func(t *corev1.PodTemplate, _ time.Time) []any {
			containers, images := containersAndImages(&t.Template.Spec)
			return []any{t.Name, containers, images, labels.FormatLabels(t.Template.Labels)}
		},
	})
}
