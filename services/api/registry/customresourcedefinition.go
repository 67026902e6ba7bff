package registry

import (
	"slices"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

type crd = apiextensionsv1.CustomResourceDefinition

func customResourceDefinition() *Kind {
	return define(Spec[*crd]{
		GVK: gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"), Resource: "customresourcedefinitions", Singular: "customresourcedefinition",
		ShortNames: []string{"crd", "crds"}, Categories: apiExtensions,
		New:     func() *crd { return &crd{} },
		NewList: func() runtime.Object { return &apiextensionsv1.CustomResourceDefinitionList{} },
		Default: apiextensionsv1.SetObjectDefaults_CustomResourceDefinition,
		PrepareCreate: func(c *crd) {
			c.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
			c.Generation = 1
			recordStored(c)
		},
		PrepareUpdate: func(c, old *crd) {
			c.Status = *old.Status.DeepCopy()
			raiseGeneration(c, old, !equality.Semantic.DeepEqual(c.Spec, old.Spec))
			recordStored(c)
		},
		PrepareStatus: func(c, old *crd) {
			c.Spec = old.Spec
			c.Generation = old.Generation
		},
		PrepareDelete:  awaitInstances,
		Validate:       nil, // depends on whether there is an old one
		ValidateCreate: validateDefinition,
		ValidateUpdate: validateDefinitionUpdate,
		ValidateStatus: validateDefinitionStatus,
		// What a name must be depends on the spec.
		ValidateName: func(string, bool) []string { return nil },
		Warnings:     warnDefinition,
		Columns: slices.Concat(columns("Name|Scope|Versions"), []metav1.TableColumnDefinition{{Name: "Created At", Type: "date", Description: columnDocs["Age"]}},
			columns("+Group|+Kind|+ShortNames"), []metav1.TableColumnDefinition{{Name: "Established", Type: "boolean", Priority: 1}}),
		Cells: func(c *crd, _ time.Time) []any {
			return []any{c.Name, string(c.Spec.Scope), servedVersions(c), createdAt(c.CreationTimestamp), c.Spec.Group, c.Spec.Names.Kind,
				strings.Join(c.Spec.Names.ShortNames, ","), established(c)}
		},
	})
}

// recordStored adds the storage version to those in which objects may be stored.
func recordStored(c *crd) {
	for i := range c.Spec.Versions {
		if v := &c.Spec.Versions[i]; v.Storage && !slices.Contains(c.Status.StoredVersions, v.Name) {
			c.Status.StoredVersions = append(c.Status.StoredVersions, v.Name)
			return
		}
	}
}

// awaitInstances keeps a definition that is deleted until its objects have gone.
func awaitInstances(c *crd, now time.Time) {
	if !slices.Contains(c.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer) {
		c.Finalizers = append(c.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer)
	}
	pending := apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue, LastTransitionTime: metav1.NewTime(now).Rfc3339Copy(),
		Reason: "InstanceDeletionPending", Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	}
	c.Status.Conditions = append(slices.DeleteFunc(c.Status.Conditions, func(have apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return have.Type == pending.Type
	}), pending)
}

func servedVersions(c *crd) string {
	var names []string
	for i := range c.Spec.Versions {
		v := &c.Spec.Versions[i]
		switch {
		case v.Served && v.Storage:
			names = append(names, v.Name+"(storage)")
		case v.Served:
			names = append(names, v.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

func established(c *crd) bool {
	return slices.ContainsFunc(c.Status.Conditions, func(have apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return have.Type == apiextensionsv1.Established && have.Status == apiextensionsv1.ConditionTrue
	})
}
