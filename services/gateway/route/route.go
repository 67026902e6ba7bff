// Package route turns a URL of the Kubernetes REST API and an HTTP method into what the API service is asked for. It is
// pure: a table built from the kinds that the API serves, and a parser that allocates nothing.
package route

import (
	"net/http"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
)

// Verb is what a request does to a resource.
type Verb uint8

// The verbs, in the order of the names that Kubernetes gives them in RBAC rules and discovery.
const (
	Get Verb = iota
	List
	Watch
	Create
	Update
	Patch
	Delete
	DeleteCollection
)

var verbNames = [...]string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}

// String returns the verb's Kubernetes name.
func (v Verb) String() string { return verbNames[v] }

// verbs is a set of Verb.
type verbs uint16

func (s verbs) has(v Verb) bool { return s&(1<<v) != 0 }

func verbsOf(names []string) verbs {
	var s verbs
	for _, n := range names {
		for v, name := range verbNames {
			if n == name {
				s |= 1 << v
			}
		}
	}
	return s
}

// Resource is one entry of the table: a kind as it stands in URLs.
type Resource struct {
	Group, Version string
	// APIVersion and Kind are what the API service calls it.
	APIVersion, Kind string
	// Name is the plural.
	Name       string
	Namespaced bool

	verbs verbs
	subs  map[string]*Subresource
}

// Subresource is a part of a resource with a path of its own.
type Subresource struct {
	Name string
	// APIVersion and Kind of what it carries; the parent's where that is the same.
	APIVersion, Kind string

	verbs verbs
}

// Table finds resources by group version and plural. It is immutable.
type Table struct {
	byVersion map[string]map[string]*Resource
}

// NewTable returns the table of the given kinds.
func NewTable(kinds []*apiv1.KindInfo) *Table {
	t := &Table{byVersion: map[string]map[string]*Resource{}}
	for _, k := range kinds {
		r := newResource(k)
		if t.byVersion[r.APIVersion] == nil {
			t.byVersion[r.APIVersion] = map[string]*Resource{}
		}
		t.byVersion[r.APIVersion][r.Name] = r
	}
	return t
}

func newResource(k *apiv1.KindInfo) *Resource {
	r := &Resource{
		Group: k.GetGroup(), Version: k.GetVersion(), APIVersion: APIVersion(k.GetGroup(), k.GetVersion()), Kind: k.GetKind(),
		Name: k.GetResource(), Namespaced: k.GetNamespaced(), verbs: verbsOf(k.GetVerbs()), subs: map[string]*Subresource{},
	}
	for _, s := range k.GetSubresources() {
		sub := &Subresource{Name: s.GetName(), APIVersion: r.APIVersion, Kind: r.Kind, verbs: verbsOf(s.GetVerbs())}
		if s.GetKind() != "" {
			sub.Kind = s.GetKind()
			if s.GetVersion() != "" {
				sub.APIVersion = APIVersion(s.GetGroup(), s.GetVersion())
			}
		}
		r.subs[sub.Name] = sub
	}
	return r
}

// APIVersion joins a group and a version as manifests write them.
func APIVersion(group, version string) string {
	if group == "" {
		return version
	}
	return group + "/" + version
}

// methodVerbs says what a method asks for: of a single object or, with collection, of all.
var methodVerbs = map[string]struct{ object, collection Verb }{
	http.MethodGet:    {Get, List},
	http.MethodPost:   {Create, Create},
	http.MethodPut:    {Update, Update},
	http.MethodPatch:  {Patch, Patch},
	http.MethodDelete: {Delete, DeleteCollection},
}
