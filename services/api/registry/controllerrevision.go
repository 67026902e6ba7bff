package registry

import (
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func controllerRevision() *Kind {
	validate := func(r *appsv1.ControllerRevision) field.ErrorList {
		var e check.Errors
		if r.Data.Raw == nil && r.Data.Object == nil {
			e.Required(field.NewPath("data"), "data is mandatory")
		}
		e.NonNegative(field.NewPath("revision"), r.Revision)
		return e.List()
	}
	return define(Spec[*appsv1.ControllerRevision]{
		GVK: apps("ControllerRevision"), Resource: "controllerrevisions", Singular: "controllerrevision", Namespaced: true,
		New:      func() *appsv1.ControllerRevision { return &appsv1.ControllerRevision{} },
		NewList:  func() runtime.Object { return &appsv1.ControllerRevisionList{} },
		Validate: validate,
		ValidateUpdate: func(r, old *appsv1.ControllerRevision) field.ErrorList {
			var e check.Errors
			e.Immutable(field.NewPath("data"), r.Data, old.Data)
			return e.List()
		},
		Columns: columns("Name|Controller|Revision#|Age"),
		Cells: func(r *appsv1.ControllerRevision, now time.Time) []any {
			return []any{r.Name, controllerOf(r), r.Revision, age(r.CreationTimestamp, now)}
		},
	})
}

// controllerOf names the controller of an object the way kubectl does: "daemonset.apps/agent".
func controllerOf(o metav1.Object) string {
	c := metav1.GetControllerOf(o)
	if c == nil {
		return none
	}
	gv, err := schema.ParseGroupVersion(c.APIVersion)
	if err != nil {
		return none
	}
	kind := strings.ToLower(c.Kind)
	if gv.Group != "" {
		kind += "." + gv.Group
	}
	return kind + "/" + c.Name
}
