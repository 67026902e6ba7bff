package registry

import (
	"time"

	svmv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// storageVersionMigration asks that all objects of a resource be written once more, in the form in which they are stored now.
func storageVersionMigration() *Kind {
	return define(Spec[*svmv1.StorageVersionMigration]{
		GVK: gvk(svmv1.GroupName, "v1", "StorageVersionMigration"), Resource: "storageversionmigrations", Singular: "storageversionmigration",
		New:     func() *svmv1.StorageVersionMigration { return &svmv1.StorageVersionMigration{} },
		NewList: func() runtime.Object { return &svmv1.StorageVersionMigrationList{} },
		Life: specAndStatus(func(m *svmv1.StorageVersionMigration) (*svmv1.StorageVersionMigrationSpec, *svmv1.StorageVersionMigrationStatus) {
			return &m.Spec, &m.Status
		}),
		Validate: validateMigration,
		ValidateUpdate: func(m, old *svmv1.StorageVersionMigration) field.ErrorList {
			var e check.Errors
			e.Immutable(field.NewPath("spec"), m.Spec, old.Spec)
			return e.List()
		},
		ValidateStatus: validateMigrationStatus,
		Columns:        columns("Name|Resource|Status"),
		Cells: func(m *svmv1.StorageVersionMigration, _ time.Time) []any {
			return []any{m.Name, m.Spec.Resource.String(), migrationState(m)}
		},
	})
}

// migrationState is the last of the conditions that holds.
func migrationState(m *svmv1.StorageVersionMigration) string {
	state := "Unknown"
	for _, c := range m.Status.Conditions {
		if c.Status == metav1.ConditionTrue {
			state = c.Type
		}
	}
	return state
}

func validateMigration(m *svmv1.StorageVersionMigration) field.ErrorList {
	var e check.Errors
	p := field.NewPath("spec", "resource")
	if r := m.Spec.Resource.Resource; r == "" {
		e.Required(p.Child("resource"), "resource is required to be set")
	} else {
		e.Messages(p.Child("resource"), r, validation.IsDNS1035Label(r))
	}
	if g := m.Spec.Resource.Group; g != "" {
		e.Messages(p.Child("group"), g, validation.IsDNS1123Subdomain(g))
	}
	return e.List()
}

// validateMigrationStatus holds what a migration has come to: an end is final, and so is the revision that it goes by.
func validateMigrationStatus(m, old *svmv1.StorageVersionMigration) field.ErrorList {
	var e check.Errors
	p := field.NewPath("status")
	conditions := p.Child("conditions")
	e.Add(metav1validation.ValidateConditions(m.Status.Conditions, conditions)...)
	e.If(old.Status.ResourceVersion != "" && m.Status.ResourceVersion != old.Status.ResourceVersion, p.Child("resourceVersion"),
		m.Status.ResourceVersion, "field is immutable")
	holds := func(m *svmv1.StorageVersionMigration, c svmv1.MigrationConditionType) bool {
		return meta.IsStatusConditionTrue(m.Status.Conditions, string(c))
	}
	e.If(holds(m, svmv1.MigrationSucceeded) && holds(m, svmv1.MigrationFailed), conditions, m.Status.Conditions,
		"Both success and failed conditions cannot be true at the same time")
	e.If(holds(old, svmv1.MigrationSucceeded) && !holds(m, svmv1.MigrationSucceeded), conditions, m.Status.Conditions,
		"Success condition cannot be set to false once it is true")
	e.If(holds(old, svmv1.MigrationFailed) && !holds(m, svmv1.MigrationFailed), conditions, m.Status.Conditions,
		"Failed condition cannot be set to false once it is true")
	return e.List()
}
