package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

var accessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod}

// ValidateAccessModes reports modes that a volume cannot be used in.
func ValidateAccessModes(e *check.Errors, p *field.Path, modes []corev1.PersistentVolumeAccessMode) {
	alone, others := false, false
	for _, m := range modes {
		check.Among(e, p, m, accessModes...)
		if m == corev1.ReadWriteOncePod {
			alone = true
		} else {
			others = true
		}
	}
	if alone && others {
		e.Forbidden(p, "may not use ReadWriteOncePod with other access modes")
	}
}

// ValidateClaim reports what is wrong with the spec of a persistent volume claim.
func ValidateClaim(e *check.Errors, p *field.Path, c *corev1.PersistentVolumeClaimSpec) {
	if len(c.AccessModes) == 0 {
		e.Required(p.Child("accessModes"), "at least 1 access mode is required")
	}
	ValidateAccessModes(e, p.Child("accessModes"), c.AccessModes)
	if c.Selector != nil {
		e.Selector(p.Child("selector"), c.Selector)
	}
	storage := p.Child("resources").Key(string(corev1.ResourceStorage))
	if q, ok := c.Resources.Requests[corev1.ResourceStorage]; !ok {
		e.Required(storage, "")
	} else {
		CheckQuantity(e, storage, corev1.ResourceStorage, q)
		e.If(q.Sign() == 0, storage, q.String(), "must be greater than zero")
	}
	for _, n := range []struct {
		name  string
		value *string
	}{{"storageClassName", c.StorageClassName}, {"volumeAttributesClassName", c.VolumeAttributesClassName}} {
		if n.value != nil && *n.value != "" {
			e.Messages(p.Child(n.name), *n.value, validation.NameIsDNSSubdomain(*n.value, false))
		}
	}
	if c.VolumeMode != nil {
		check.Among(e, p.Child("volumeMode"), *c.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	}
	if d := c.DataSource; d != nil {
		e.NotEmpty(p.Child("dataSource", "name"), d.Name)
		e.NotEmpty(p.Child("dataSource", "kind"), d.Kind)
	}
	if d := c.DataSourceRef; d != nil {
		e.NotEmpty(p.Child("dataSourceRef", "name"), d.Name)
		e.NotEmpty(p.Child("dataSourceRef", "kind"), d.Kind)
	}
}
