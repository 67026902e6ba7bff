package extension

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry"
)

const statusField = "status"

func (v *version) prepareCreate(obj registry.Object) {
	c := obj.(*Custom)
	if v.hasStatus {
		delete(c.Fields, statusField)
	}
	c.Generation = 1
}

// prepareUpdate keeps the status where it has a subresource; every other change but of metadata raises the generation.
func (v *version) prepareUpdate(obj, old registry.Object) {
	c, was := obj.(*Custom), old.(*Custom)
	if v.hasStatus {
		setOrDelete(c.Fields, was.Fields)
	}
	c.Generation = was.Generation
	if !equality.Semantic.DeepEqual(c.Fields, was.Fields) {
		c.Generation++
	}
}

// prepareStatus takes nothing but the status. The managed fields tell who set it.
func (v *version) prepareStatus(obj, old registry.Object) {
	c, was := obj.(*Custom), old.(*Custom)
	said, managed := c.Fields, c.ManagedFields
	was.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	c.ManagedFields = managed
	c.Fields = maps.Clone(was.Fields)
	setOrDelete(c.Fields, said)
}

// setOrDelete makes the status in fields that of from.
func setOrDelete(fields, from map[string]any) {
	if status, ok := from[statusField]; ok {
		fields[statusField] = status
	} else {
		delete(fields, statusField)
	}
}

func (v *version) validateCreate(obj registry.Object) field.ErrorList {
	c := obj.(*Custom)
	return append(v.schema.Validate(c.content()), v.scale.validate(c)...)
}

func (v *version) validateUpdate(obj, old registry.Object) field.ErrorList {
	c, was := obj.(*Custom), old.(*Custom)
	return append(v.schema.ValidateUpdate(c.content(), was.content()), v.scale.validate(c)...)
}

func (v *version) validateStatus(obj, old registry.Object) field.ErrorList {
	c, was := obj.(*Custom), old.(*Custom)
	return append(v.schema.ValidateStatus(c.content(), was.content()), v.scale.validateStatus(c)...)
}

// finalizersOfKubernetes need no domain.
var finalizersOfKubernetes = []string{metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents, string(corev1.FinalizerKubernetes)}

// finalizerWarnings are about new finalizers whose names may clash with those of others.
func finalizerWarnings(obj, old registry.Object) (warnings []string) {
	names := slices.Sorted(slices.Values(obj.GetFinalizers()))
	if old != nil {
		names = slices.DeleteFunc(names, func(f string) bool { return slices.Contains(old.GetFinalizers(), f) })
	}
	for _, name := range names {
		warn := func(text string) { warnings = append(warnings, fmt.Sprintf("metadata.finalizers: %q: %s", name, text)) }
		for _, text := range validation.IsQualifiedName(name) {
			warn(text)
		}
		switch {
		case strings.Contains(name, "/") || slices.Contains(finalizersOfKubernetes, name):
		case strings.Contains(name, "."):
			warn("prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers")
		default:
			warn("prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers")
		}
	}
	return warnings
}
