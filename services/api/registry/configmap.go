package registry

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func configMap() *Kind {
	return define(Spec[*corev1.ConfigMap]{
		GVK: core("ConfigMap"), Resource: "configmaps", Singular: "configmap", ShortNames: []string{"cm"}, Namespaced: true,
		New:            func() *corev1.ConfigMap { return &corev1.ConfigMap{} },
		NewList:        func() runtime.Object { return &corev1.ConfigMapList{} },
		Validate:       validateConfigMap,
		ValidateUpdate: validateConfigMapUpdate,
		Columns:        columns("Name|Data#|Age"),
		Cells: func(c *corev1.ConfigMap, now time.Time) []any {
			return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), age(c.CreationTimestamp, now)}
		},
	})
}

func validateConfigMap(c *corev1.ConfigMap) field.ErrorList {
	var e check.Errors
	size := 0
	data := field.NewPath("data")
	for _, key := range sorted(c.Data) {
		e.Messages(data.Key(key), key, validation.IsConfigMapKey(key))
		if _, twice := c.BinaryData[key]; twice {
			e.Invalid(data.Key(key), key, "duplicate of key present in binaryData")
		}
		size += len(c.Data[key])
	}
	for _, key := range sorted(c.BinaryData) {
		e.Messages(field.NewPath("binaryData").Key(key), key, validation.IsConfigMapKey(key))
		size += len(c.BinaryData[key])
	}
	if size > corev1.MaxSecretSize {
		e.Add(field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	return e.List()
}

func validateConfigMapUpdate(c, old *corev1.ConfigMap) field.ErrorList {
	var e check.Errors
	if deref(old.Immutable) {
		if !deref(c.Immutable) {
			e.Forbidden(field.NewPath("immutable"), "field is immutable when `immutable` is set")
		}
		forbidChange(&e, field.NewPath("data"), c.Data, old.Data)
		forbidChange(&e, field.NewPath("binaryData"), c.BinaryData, old.BinaryData)
	}
	return e.List()
}
