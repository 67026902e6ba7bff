package watch

import "context"

// Resource is all that the cache knows of a resource.
type Resource struct {
	// Prefix is Config.Prefix + group + "/" + plural + "/", as in "/registry/core/pods/".
	Prefix string
	// Namespaced: what follows the prefix is "namespace/name", else "name".
	Namespaced bool
	// Open turns stored bytes into what Entry.Value holds (it decrypts, say); nil: they are the same.
	Open func(key string, stored []byte) ([]byte, error)
	// Attributes reads what selectors ask for from an opened value; metadata.name and metadata.namespace are known from
	// the key and need not be in Fields. It is called once for every version of an object, so it should not decode
	// more than it must. The maps are not kept. Nil: no labels, no fields.
	Attributes func(value []byte) (Attributes, error)
	// IndexedFields are the fields by which lists and watches are indexed, as in "spec.nodeName". Labels all are.
	IndexedFields []string
}

// Attributes are what selectors ask of an object.
type Attributes struct {
	Labels map[string]string
	Fields map[string]string
}

// Collection is one resource's snapshot and history. All methods are safe for concurrent use.
type Collection struct{}

// Get returns the entry of an object; ok is false when there is none. Namespace is empty for cluster-scoped ones.
func (c *Collection) Get(namespace, name string) (entry *Entry, ok bool) { return nil, false }

// Key returns the storage key of an object.
func (c *Collection) Key(namespace, name string) string { return "" }

// Len returns how many entries there are.
func (c *Collection) Len() int { return 0 }

// List returns what the query asks for as of now, in the order of keys. It uses an index when the predicate allows.
func (c *Collection) List(q Query) Page { return Page{} }

// ListAt is List as of exactly the revision: from memory where that is the same, else from the store. It fails with
// ErrExpired when the store has forgotten the revision, and with ErrFuture when it does not have it yet.
func (c *Collection) ListAt(ctx context.Context, revision int64, q Query) (Page, error) {
	return Page{}, nil
}

// Query says what to list.
type Query struct {
	// Namespace narrows to one; empty: all.
	Namespace string
	Predicate Predicate
	// Limit is the most entries to return; 0: all.
	Limit int
	// After is the key that the page before ended with; "" to begin.
	After string
}

// Page is the answer to a Query. Entries are shared: they must not be changed.
type Page struct {
	Entries []*Entry
	// Revision is what the page is as of; the next page is ListAt(Revision, After: Next).
	Revision int64
	// Next is Query.After of the next page; "" when this is the last.
	Next string
	// Remaining counts what follows, when the predicate is empty (Kubernetes' remainingItemCount); else -1.
	Remaining int64
}
