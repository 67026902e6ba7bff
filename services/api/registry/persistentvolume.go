package registry

import (
	"reflect"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

func persistentVolume() *Kind {
	return define(Spec[*corev1.PersistentVolume]{
		GVK: core("PersistentVolume"), Resource: "persistentvolumes", Singular: "persistentvolume", ShortNames: []string{"pv"},
		New:     func() *corev1.PersistentVolume { return &corev1.PersistentVolume{} },
		NewList: func() runtime.Object { return &corev1.PersistentVolumeList{} },
		Life: specAndStatus(func(o *corev1.PersistentVolume) (*corev1.PersistentVolumeSpec, *corev1.PersistentVolumeStatus) {
			return &o.Spec, &o.Status
		}),
		PrepareCreate: func(v *corev1.PersistentVolume) {
			v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending}
		},
		Default:        defaultVolume,
		Validate:       validateVolume,
		ValidateUpdate: validateVolumeUpdate,
		Columns:        columns("Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass|Reason|Age|+VolumeMode"),
		Cells: func(v *corev1.PersistentVolume, now time.Time) []any {
			claim := ""
			if c := v.Spec.ClaimRef; c != nil {
				claim = c.Namespace + "/" + c.Name
			}
			phase := string(v.Status.Phase)
			if v.DeletionTimestamp != nil {
				phase = "Terminating"
			}
			size := v.Spec.Capacity[corev1.ResourceStorage]
			return []any{v.Name, size.String(), modes(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy), phase, claim,
				v.Spec.StorageClassName, orUnset(v.Spec.VolumeAttributesClassName), v.Status.Reason, age(v.CreationTimestamp, now), orUnset(v.Spec.VolumeMode)}
		},
	})
}

func defaultVolume(v *corev1.PersistentVolume) {
	set(&v.Status.Phase, corev1.VolumePending)
	set(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	point(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	podspec.RoundResources(v.Spec.Capacity)
	if h := v.Spec.HostPath; h != nil {
		point(&h.Type, corev1.HostPathUnset)
	}
}

// modes are the short forms of access modes.
func modes(all []corev1.PersistentVolumeAccessMode) string {
	var short []string
	for _, m := range []struct {
		mode corev1.PersistentVolumeAccessMode
		name string
	}{{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"}} {
		for _, a := range all {
			if a == m.mode {
				short = append(short, m.name)
				break
			}
		}
	}
	return strings.Join(short, ",")
}

// orUnset is what p points to, or <unset>.
func orUnset[T ~string](p *T) string {
	if p == nil || *p == "" {
		return "<unset>"
	}
	return string(*p)
}

func validateVolume(v *corev1.PersistentVolume) field.ErrorList {
	var e check.Errors
	p, s := field.NewPath("spec"), &v.Spec
	if len(s.AccessModes) == 0 {
		e.Required(p.Child("accessModes"), "")
	}
	podspec.ValidateAccessModes(&e, p.Child("accessModes"), s.AccessModes)
	capacity := p.Child("capacity")
	if len(s.Capacity) == 0 {
		e.Required(capacity, "")
	}
	q, ok := s.Capacity[corev1.ResourceStorage]
	if !ok || len(s.Capacity) > 1 {
		e.Add(field.NotSupported(capacity, s.Capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	if ok {
		e.If(q.Sign() < 0, capacity.Key("storage"), q.Value(), "must be a valid resource quantity")
		e.If(q.Sign() <= 0, capacity.Key("storage"), q.String(), "must be greater than zero")
	}
	check.Among(&e, p.Child("persistentVolumeReclaimPolicy"), s.PersistentVolumeReclaimPolicy,
		corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)
	validateVolumeSource(&e, p, s)
	if n := s.NodeAffinity; n != nil {
		if n.Required == nil {
			e.Required(p.Child("nodeAffinity", "required"), "must specify required node constraints")
		} else {
			podspec.ValidateNodeSelector(&e, p.Child("nodeAffinity", "required"), n.Required)
		}
	}
	if s.StorageClassName != "" {
		e.Subdomain(p.Child("storageClassName"), s.StorageClassName)
	}
	if s.VolumeMode != nil {
		check.Among(&e, p.Child("volumeMode"), *s.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	}
	return e.List()
}

// validateVolumeSource wants exactly one source.
func validateVolumeSource(e *check.Errors, p *field.Path, s *corev1.PersistentVolumeSpec) {
	count := 0
	value := reflect.ValueOf(&s.PersistentVolumeSource).Elem()
	for i := range value.NumField() {
		f := value.Field(i)
		if f.IsNil() {
			continue
		}
		name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
		at := p.Child(name)
		if count++; count > 1 {
			e.Forbidden(at, "may not specify more than 1 volume type")
			continue
		}
		switch v := f.Interface().(type) {
		case *corev1.HostPathVolumeSource:
			podspec.ValidateHostPath(e, at, v)
			if v.Path == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
				e.Forbidden(p.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'")
			}
		case *corev1.LocalVolumeSource:
			e.NotEmpty(at.Child("path"), v.Path)
			if s.NodeAffinity == nil {
				e.Required(p.Child("nodeAffinity"), "Local volume requires node affinity")
			}
		case *corev1.CSIPersistentVolumeSource:
			podspec.ValidateDriverName(e, at.Child("driver"), v.Driver)
			e.NotEmpty(at.Child("volumeHandle"), v.VolumeHandle)
		default:
			podspec.ValidateRemoteVolume(e, at, v)
		}
	}
	if count == 0 {
		e.Required(p, "must specify a volume type")
	}
}

func validateVolumeUpdate(v, old *corev1.PersistentVolume) field.ErrorList {
	var e check.Errors
	p := field.NewPath("spec")
	if !equality.Semantic.DeepEqual(v.Spec.PersistentVolumeSource, old.Spec.PersistentVolumeSource) {
		e.Forbidden(p.Child("persistentvolumesource"), "spec.persistentvolumesource is immutable after creation\n"+
			diff.Diff(old.Spec.PersistentVolumeSource, v.Spec.PersistentVolumeSource))
	}
	e.Immutable(p.Child("volumeMode"), v.Spec.VolumeMode, old.Spec.VolumeMode)
	return e.List()
}
