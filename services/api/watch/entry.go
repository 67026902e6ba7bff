package watch

import (
	"strings"
	"sync/atomic"

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
	// Err is why Value (nil then) or the attributes could not be read; readers answer with it.
	Err error

	labels, fields pairs

	memo atomic.Pointer[memo] // written under pool.mu
	pool *memoPool            // nil: nothing is kept
	slot int                  // guarded by pool.mu: place in the pool + 1
}

// NewEntry returns the entry of an object that is not stored.
func NewEntry(namespace, name string, value []byte, revision int64, labels map[string]string) *Entry {
	return &Entry{Namespace: namespace, Name: name, Value: value, Revision: revision, labels: newPairs(labels, nil)}
}

// Labels returns the object's labels, as Attributes gave them.
func (e *Entry) Labels() labels.Labels { return &e.labels }

// Fields returns the object's selectable fields, metadata.name and metadata.namespace included.
func (e *Entry) Fields() fields.Fields { return entryFields{e} }

// at returns the entry as of another revision: what a watcher is told of an object that is gone.
func (e *Entry) at(revision int64) *Entry {
	return &Entry{
		Key: e.Key, Namespace: e.Namespace, Name: e.Name, Value: e.Value, Revision: revision, Err: e.Err,
		labels: e.labels, fields: e.fields, pool: e.pool,
	}
}

const (
	fieldName      = "metadata.name"
	fieldNamespace = "metadata.namespace"
)

// entryFields adds the fields that the key tells.
type entryFields struct{ e *Entry }

// Has implements fields.Fields.
func (f entryFields) Has(field string) bool {
	return field == fieldName || field == fieldNamespace || f.e.fields.Has(field)
}

// Get implements fields.Fields.
func (f entryFields) Get(field string) string {
	switch field {
	case fieldName:
		return f.e.Name
	case fieldNamespace:
		return f.e.Namespace
	}
	return f.e.fields.Get(field)
}

// parseKey sets the parts of the key.
func (e *Entry) parseKey(key, prefix string, namespaced bool) {
	e.Key, e.Namespace, e.Name = key, "", key[len(prefix):]
	if !namespaced {
		return
	}
	if namespace, name, ok := strings.Cut(e.Name, "/"); ok {
		e.Namespace, e.Name = namespace, name
	}
}
