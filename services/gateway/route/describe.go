package route

import (
	"net/http"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/fields"
)

// Request is what a request for an API asks for of which the table knows nothing but the group and version: another server
// serves it. Without a resource it is about the path.
type Request struct {
	Verb, Group, Version, Resource, Subresource, Namespace, Name, Path string
	// LongRunning tells that it lasts as long as the client likes.
	LongRunning bool
}

var objectVerbs = map[string]string{
	http.MethodGet: "get", http.MethodHead: "get", http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete",
}

// Describe reads a request below /apis/<group>/<version> as Kubernetes does for authorization.
func Describe(method, path string, query url.Values) Request {
	version, rest, _ := cutVersion(path)
	r := Request{Verb: strings.ToLower(method), Path: path}
	r.Group, r.Version, _ = strings.Cut(version, "/")
	parts := strings.Split(strings.Trim(rest, "/"), "/")
	if parts[0] == "" {
		return r
	}
	r.Path, r.Verb = "", objectVerbs[method]
	watch := len(parts) > 1 && parts[0] == "watch"
	if watch {
		parts = parts[1:]
	}
	if len(parts) > 1 && parts[0] == "namespaces" {
		r.Namespace = parts[1]
		if len(parts) > 2 {
			parts = parts[2:]
		}
	}
	for i, into := range []*string{&r.Resource, &r.Name, &r.Subresource} {
		if i < len(parts) {
			*into = parts[i]
		}
	}
	watch = watch || asks(query, "watch")
	switch {
	case r.Name == "" && r.Verb == "get" && watch:
		r.Verb = "watch"
	case r.Name == "" && r.Verb == "get":
		r.Verb = "list"
	case r.Name == "" && r.Verb == "delete":
		r.Verb = "deletecollection"
	}
	if r.Verb == "list" || r.Verb == "watch" {
		r.Name = named(query)
	}
	r.LongRunning = r.Verb == "watch" || longRunning[r.Subresource]
	return r
}

func asks(query url.Values, name string) bool {
	v := query.Get(name)
	return v == "1" || strings.EqualFold(v, "true")
}

// named is the one object that a field selector chooses.
func named(query url.Values) string {
	selector, err := fields.ParseSelector(query.Get("fieldSelector"))
	if err != nil {
		return ""
	}
	name, _ := selector.RequiresExactMatch("metadata.name")
	return name
}

// VersionOf returns the group version ("apps/v1") that a path is below; empty when there is none.
func VersionOf(path string) string {
	version, _, _ := cutVersion(path)
	return version
}
