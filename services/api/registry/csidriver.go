package registry

import (
	"strconv"
	"strings"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func csiDriver() *Kind {
	return define(Spec[*storagev1.CSIDriver]{
		GVK: storage("CSIDriver"), Resource: "csidrivers", Singular: "csidriver",
		New:     func() *storagev1.CSIDriver { return &storagev1.CSIDriver{} },
		NewList: func() runtime.Object { return &storagev1.CSIDriverList{} },
		Default: func(d *storagev1.CSIDriver) {
			s := &d.Spec
			point(&s.AttachRequired, true)
			point(&s.PodInfoOnMount, false)
			point(&s.StorageCapacity, false)
			point(&s.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
			if len(s.VolumeLifecycleModes) == 0 {
				s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
			}
			point(&s.RequiresRepublish, false)
			point(&s.SELinuxMount, false)
			point(&s.PreventPodSchedulingIfMissing, false)
		},
		Validate: func(d *storagev1.CSIDriver) field.ErrorList {
			var e check.Errors
			p := field.NewPath("spec")
			check.Among(&e, p.Child("fsGroupPolicy"), deref(d.Spec.FSGroupPolicy), storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
			for _, m := range d.Spec.VolumeLifecycleModes {
				check.Among(&e, p.Child("volumeLifecycleModes"), m, storagev1.VolumeLifecycleEphemeral, storagev1.VolumeLifecyclePersistent)
			}
			return e.List()
		},
		ValidateUpdate: func(d, old *storagev1.CSIDriver) field.ErrorList {
			var e check.Errors
			p := field.NewPath("spec")
			e.Immutable(p.Child("attachedRequired"), d.Spec.AttachRequired, old.Spec.AttachRequired)
			e.Immutable(p.Child("volumeLifecycleModes"), d.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes)
			return e.List()
		},
		Columns: columns("Name|AttachRequired|PodInfoOnMount|StorageCapacity|TokenRequests|RequiresRepublish|Modes|Age"),
		Cells:   csiDriverCells,
	})
}

func csiDriverCells(d *storagev1.CSIDriver, now time.Time) []any {
	var audiences, lives []string
	for _, t := range d.Spec.TokenRequests {
		audiences = append(audiences, t.Audience)
	}
	for _, m := range d.Spec.VolumeLifecycleModes {
		lives = append(lives, string(m))
	}
	tokens := "<unset>"
	if d.Spec.TokenRequests != nil {
		tokens = strings.Join(audiences, ",")
	}
	republish := strconv.FormatBool(deref(d.Spec.RequiresRepublish))
	return []any{d.Name, deref(d.Spec.AttachRequired), deref(d.Spec.PodInfoOnMount), deref(d.Spec.StorageCapacity), tokens,
		republish, orNone(strings.Join(lives, ",")), age(d.CreationTimestamp, now)}
}
