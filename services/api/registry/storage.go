package registry

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func storage(kind string) schema.GroupVersionKind { return gvk("storage.k8s.io", "v1", kind) }

// defaultClassAnnotation marks the class that a claim gets which names none.
const defaultClassAnnotation = "storageclass.kubernetes.io/is-default-class"

func storageClass() *Kind {
	return define(Spec[*storagev1.StorageClass]{
		GVK: storage("StorageClass"), Resource: "storageclasses", Singular: "storageclass", ShortNames: []string{"sc"},
		New:     func() *storagev1.StorageClass { return &storagev1.StorageClass{} },
		NewList: func() runtime.Object { return &storagev1.StorageClassList{} },
		Default: func(c *storagev1.StorageClass) {
			point(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
			point(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
		},
		Validate: func(c *storagev1.StorageClass) field.ErrorList {
			var e check.Errors
			if e.NotEmpty(field.NewPath("provisioner"), c.Provisioner) {
				e.Qualified(field.NewPath("provisioner"), strings.ToLower(c.Provisioner))
			}
			check.Among(&e, field.NewPath("reclaimPolicy"), deref(c.ReclaimPolicy), corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)
			check.Among(&e, field.NewPath("volumeBindingMode"), deref(c.VolumeBindingMode), storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)
			return e.List()
		},
		ValidateUpdate: func(c, old *storagev1.StorageClass) field.ErrorList {
			const forbidden = "updates to %s are forbidden."
			var e check.Errors
			for _, f := range []struct {
				name    string
				changed bool
			}{
				{"parameters", !equal(c.Parameters, old.Parameters)}, {"provisioner", c.Provisioner != old.Provisioner},
				{"reclaimPolicy", deref(c.ReclaimPolicy) != deref(old.ReclaimPolicy)},
			} {
				if f.changed {
					e.Forbidden(field.NewPath(f.name), strings.Replace(forbidden, "%s", f.name, 1))
				}
			}
			e.Immutable(field.NewPath("volumeBindingMode"), c.VolumeBindingMode, old.VolumeBindingMode)
			return e.List()
		},
		Columns: columns("Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age"),
		Cells: func(c *storagev1.StorageClass, now time.Time) []any {
			name := c.Name
			if c.Annotations[defaultClassAnnotation] == "true" || c.Annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true" {
				name += " (default)"
			}
			return []any{name, c.Provisioner, orUnset(c.ReclaimPolicy), orUnset(c.VolumeBindingMode), deref(c.AllowVolumeExpansion), age(c.CreationTimestamp, now)}
		},
	})
}

func volumeAttachment() *Kind {
	return define(Spec[*storagev1.VolumeAttachment]{
		GVK: storage("VolumeAttachment"), Resource: "volumeattachments", Singular: "volumeattachment",
		New:     func() *storagev1.VolumeAttachment { return &storagev1.VolumeAttachment{} },
		NewList: func() runtime.Object { return &storagev1.VolumeAttachmentList{} },
		Life: specAndStatus(func(o *storagev1.VolumeAttachment) (*storagev1.VolumeAttachmentSpec, *storagev1.VolumeAttachmentStatus) {
			return &o.Spec, &o.Status
		}),
		Validate: func(a *storagev1.VolumeAttachment) field.ErrorList {
			var e check.Errors
			p := field.NewPath("spec")
			validateAttached(&e, p.Child("source"), &a.Spec.Source)
			e.Subdomain(p.Child("nodeName"), a.Spec.NodeName)
			if at := p.Child("attacher"); e.NotEmpty(at, a.Spec.Attacher) {
				const longest = 63
				e.Messages(at, a.Spec.Attacher, content.IsDNS1123SubdomainCaseless(a.Spec.Attacher))
				if len(a.Spec.Attacher) > longest {
					e.Add(field.TooLongCharacters(at, a.Spec.Attacher, longest))
				}
			}
			return e.List()
		},
		ValidateUpdate: func(a, old *storagev1.VolumeAttachment) field.ErrorList {
			var e check.Errors
			e.Immutable(field.NewPath("spec"), a.Spec, old.Spec)
			return e.List()
		},
		Columns: columns("Name|Attacher|PV|Node|Attached|Age"),
		Cells: func(a *storagev1.VolumeAttachment, now time.Time) []any {
			return []any{a.Name, a.Spec.Attacher, deref(a.Spec.Source.PersistentVolumeName), a.Spec.NodeName, a.Status.Attached, age(a.CreationTimestamp, now)}
		},
	})
}

// validateAttached checks what is attached: a volume by its name, or one that a pod describes.
func validateAttached(e *check.Errors, p *field.Path, s *storagev1.VolumeAttachmentSource) {
	const one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
	switch inline, name := s.InlineVolumeSpec, s.PersistentVolumeName; {
	case inline == nil && name == nil:
		e.Required(p, one)
	case inline != nil && name != nil:
		e.Forbidden(p, one)
	case name != nil:
		at := p.Child("persistentVolumeName")
		if *name == "" {
			e.Required(at, "must specify non empty persistentVolumeName")
		}
		e.Subdomain(at, *name)
	case inline.CSI == nil:
		e.Required(p.Child("inlineVolumeSpec", "csi"), "has to be specified in the context of inline volumes")
	}
}

func csiNode() *Kind {
	return define(Spec[*storagev1.CSINode]{
		GVK: storage("CSINode"), Resource: "csinodes", Singular: "csinode",
		New:     func() *storagev1.CSINode { return &storagev1.CSINode{} },
		NewList: func() runtime.Object { return &storagev1.CSINodeList{} },
		Life: specAndStatus(func(n *storagev1.CSINode) (*storagev1.CSINodeSpec, *storagev1.CSINodeStatus) {
			return &n.Spec, &n.Status
		}),
		Validate: func(n *storagev1.CSINode) field.ErrorList {
			var e check.Errors
			names := map[string]bool{}
			for i, d := range n.Spec.Drivers {
				at := field.NewPath("spec", "drivers").Index(i)
				e.NotEmpty(at.Child("name"), d.Name)
				e.NotEmpty(at.Child("nodeID"), d.NodeID)
				if names[d.Name] {
					e.Duplicate(at.Child("name"), d.Name)
				}
				names[d.Name] = true
			}
			return e.List()
		},
		Columns: columns("Name|Drivers#|Age"),
		Cells: func(n *storagev1.CSINode, now time.Time) []any {
			return []any{n.Name, int64(len(n.Spec.Drivers)), age(n.CreationTimestamp, now)}
		},
	})
}

func csiStorageCapacity() *Kind {
	return define(Spec[*storagev1.CSIStorageCapacity]{
		GVK: storage("CSIStorageCapacity"), Resource: "csistoragecapacities", Singular: "csistoragecapacity", Namespaced: true,
		New:     func() *storagev1.CSIStorageCapacity { return &storagev1.CSIStorageCapacity{} },
		NewList: func() runtime.Object { return &storagev1.CSIStorageCapacityList{} },
		Validate: func(c *storagev1.CSIStorageCapacity) field.ErrorList {
			var e check.Errors
			e.Subdomain(field.NewPath("storageClassName"), c.StorageClassName)
			e.Selector(field.NewPath("nodeTopology"), c.NodeTopology)
			return e.List()
		},
		Columns: columns("Name|StorageClassName|Capacity"),
		Cells: func(c *storagev1.CSIStorageCapacity, _ time.Time) []any {
			size := "<unset>"
			if c.Capacity != nil {
				size = c.Capacity.String()
			}
			return []any{c.Name, c.StorageClassName, size}
		},
	})
}

func volumeAttributesClass() *Kind {
	return define(Spec[*storagev1.VolumeAttributesClass]{
		GVK: storage("VolumeAttributesClass"), Resource: "volumeattributesclasses", Singular: "volumeattributesclass", ShortNames: []string{"vac"},
		New:     func() *storagev1.VolumeAttributesClass { return &storagev1.VolumeAttributesClass{} },
		NewList: func() runtime.Object { return &storagev1.VolumeAttributesClassList{} },
		Validate: func(c *storagev1.VolumeAttributesClass) field.ErrorList {
			var e check.Errors
			if e.NotEmpty(field.NewPath("driverName"), c.DriverName) {
				e.Qualified(field.NewPath("driverName"), strings.ToLower(c.DriverName))
			}
			if len(c.Parameters) == 0 {
				e.Required(field.NewPath("parameters"), "must contain at least one key/value pair")
			}
			return e.List()
		},
		ValidateUpdate: func(c, old *storagev1.VolumeAttributesClass) field.ErrorList {
			var e check.Errors
			if c.DriverName != old.DriverName {
				e.Forbidden(field.NewPath("driverName"), "updates to driverName are forbidden.")
			}
			if !equal(c.Parameters, old.Parameters) {
				e.Forbidden(field.NewPath("parameters"), "updates to parameters are forbidden.")
			}
			return e.List()
		},
		Columns: columns("Name|DriverName|Age"),
		Cells: func(c *storagev1.VolumeAttributesClass, now time.Time) []any {
			return []any{c.Name, c.DriverName, age(c.CreationTimestamp, now)}
		},
	})
}
