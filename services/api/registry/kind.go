// Package registry declares every kind that the API serves, one file a kind: its names, defaults, validation, printer
// columns, selectable fields and subresources. Everything here is pure: no I/O, no clock but what is passed in.
package registry

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Object is what the registry deals in: a type of k8s.io/api, or an object of a custom kind.
type Object interface {
	metav1.Object
	runtime.Object
}

// Kind is one served kind, ready for use by the server. Functions are never nil unless said otherwise. They may
// change the object that they are named for (Default, PrepareCreate, PrepareUpdate) and nothing else.
type Kind struct {
	schema.GroupVersionKind
	// Resource is the lower-case plural; Singular, ShortNames and Categories are for kubectl.
	Resource   string
	Singular   string
	ShortNames []string
	Categories []string
	Namespaced bool
	// ListKind is what a list of objects is called; empty: Kind + "List".
	ListKind string
	// Custom is set for the kinds of CustomResourceDefinitions, nil for the others.
	Custom *Custom
	// Form is set for further versions of built-in kinds, nil for the others.
	Form *Form
	// Deprecated is the warning that every request gets; empty for none.
	Deprecated string
	// Verbs are what discovery lists; empty means all eight. A kind without "get" is not stored.
	Verbs []string
	// Computed kinds are not stored either: their objects are found out whenever somebody reads them.
	Computed bool

	// New and NewList return empty objects; NewList returns nil for kinds that are not stored.
	New     func() Object
	NewList func() runtime.Object

	// Default sets what the user left out, as Kubernetes does when it decodes.
	Default func(obj Object)
	// PrepareCreate drops what a client may not set on create (status, say) and sets generation 1 where the kind has one.
	PrepareCreate func(obj Object)
	// PrepareUpdate keeps from old what an update of the main resource may not change (status) and raises the
	// generation when the spec differs.
	PrepareUpdate func(obj, old Object)
	// PrepareStatus makes obj the stored object with only the status (and what else the status subresource may write)
	// taken from obj. Nil when the kind has no status subresource.
	PrepareStatus func(obj, old Object)

	// Validate and ValidateUpdate return what is wrong; metadata is validated by the server for every kind. ValidateUpdate
	// and ValidateCreate are called in addition to Validate. ValidateStatus checks an update of the status subresource.
	Validate       func(obj Object) field.ErrorList
	ValidateCreate func(obj Object) field.ErrorList
	ValidateUpdate func(obj, old Object) field.ErrorList
	ValidateStatus func(obj, old Object) field.ErrorList
	// ValidateName says what is wrong with a name, as k8s.io/apimachinery/pkg/api/validation's name functions do.
	ValidateName func(name string, prefix bool) []string
	// Warnings are for the client's Warning headers; may be nil.
	Warnings func(obj, old Object) []string

	// Columns and Cells make the kind's table; len(Cells(…)) == len(Columns).
	Columns []metav1.TableColumnDefinition
	Cells   func(obj Object, now time.Time) []any

	// Fields returns the selectable fields besides metadata.name and metadata.namespace; nil when there are none. Its
	// key set does not depend on obj.
	Fields func(obj Object) fields.Set

	// GracePeriod returns the grace period in seconds that deleting obj gets; asked is what the caller wants, nil for
	// the kind's own. Nil function: the kind is deleted at once.
	GracePeriod func(obj Object, asked *int64) int64

	// PrepareDelete adds what a deletion has to wait for; nil: nothing. It is called when the deletion begins.
	PrepareDelete func(obj Object, now time.Time)

	// Scale is set for kinds with a scale subresource.
	Scale *Scale
	// Subresources are the names of subresources besides status and scale ("binding", "log", …), for discovery and
	// authorization. How they work is the server's.
	Subresources []Subresource
}

// Custom is what distinguishes the kinds of CustomResourceDefinitions: they come and go, several versions share their
// objects, and these have no protobuf form and no strategic merge.
type Custom struct {
	// Storage is the version in which objects are stored.
	Storage string
	// The following are set where a webhook converts between the versions. NewStored returns an empty object that takes
	// what is stored as it is, without conversion.
	NewStored func() Object
	// Prepare converts many stored values to this version at once, so that reading each of them then is quick.
	Prepare func(ctx context.Context, values [][]byte) error
	// ToStorage converts an object to the version in which it is stored; nil for that version itself.
	ToStorage func(obj Object) (Object, error)
	// Variant is different for different versions and schemas: objects that are encoded for one are not shared with
	// another.
	Variant string
}

// StorageKind is the group, version and kind that objects have in the store.
func (k *Kind) StorageKind() schema.GroupVersionKind {
	gvk := k.GroupVersionKind
	if k.Custom != nil {
		gvk.Version = k.Custom.Storage
	}
	if k.Form != nil {
		gvk = k.Form.Hub.GroupVersionKind
	}
	return gvk
}

// ListKindName is the kind of a list of objects.
func (k *Kind) ListKindName() string {
	if k.ListKind != "" {
		return k.ListKind
	}
	return k.Kind + "List"
}

// Subresource is one entry of discovery.
type Subresource struct {
	Name  string
	Kind  schema.GroupVersionKind // zero: the parent's
	Verbs []string
	// Prepare and Validate are set for subresources by which a part of the object is written that nothing else may write:
	// Prepare makes obj the stored object with only that part taken from obj, Validate checks the result as a whole.
	Prepare  func(obj, old Object)
	Validate func(obj, old Object) field.ErrorList
}

// Scale reads and writes the replica count of a kind.
type Scale struct {
	// Get returns spec.replicas, status.replicas and the selector in its string form.
	Get func(obj Object) (spec, status int32, selector string)
	Set func(obj Object, replicas int32)
}

// Spec declares a kind with functions over its own type. Functions that are nil get a default that does nothing (or,
// for Cells, name and age).
type Spec[T Object] struct {
	GVK        schema.GroupVersionKind
	Resource   string
	Singular   string
	ShortNames []string
	Categories []string
	Namespaced bool
	Verbs      []string
	Computed   bool
	New        func() T
	NewList    func() runtime.Object

	Default func(T)
	// Life is what happens to spec, status and generation on a write; the three Prepare functions win over it.
	Life           life[T]
	PrepareCreate  func(T)
	PrepareUpdate  func(obj, old T)
	PrepareStatus  func(obj, old T)
	Validate       func(T) field.ErrorList
	ValidateCreate func(T) field.ErrorList
	ValidateUpdate func(obj, old T) field.ErrorList
	ValidateStatus func(obj, old T) field.ErrorList
	ValidateName   func(name string, prefix bool) []string
	Warnings       func(obj, old T) []string
	Columns        []metav1.TableColumnDefinition
	Cells          func(obj T, now time.Time) []any
	Fields         func(T) fields.Set
	GracePeriod    func(obj T, asked *int64) int64
	PrepareDelete  func(obj T, now time.Time)
	Scale          *Scale
	Subresources   []Subresource
}
