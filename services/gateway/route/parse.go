package route

import "strings"

// Outcome says what a path turned out to be.
type Outcome uint8

// The outcomes of Parse.
const (
	// Matched: the target is complete.
	Matched Outcome = iota
	// NotResource: the path is none of a resource ("/version", "/apis/apps/v1").
	NotResource
	// NotFound: the path has the form of a resource's, but nothing is served there.
	NotFound
	// MethodNotAllowed: the resource exists and does not have what the method asks for.
	MethodNotAllowed
)

// Target is what a request is about.
type Target struct {
	Verb      Verb
	Resource  *Resource
	Sub       *Subresource
	Namespace string
	Name      string
}

// Subresource returns the name of the subresource, empty when the target is the object itself.
func (t *Target) Subresource() string {
	if t.Sub == nil {
		return ""
	}
	return t.Sub.Name
}

// BodyKind returns the apiVersion and kind that a body sent to the target should have.
func (t *Target) BodyKind() (apiVersion, kind string) {
	if t.Sub != nil {
		return t.Sub.APIVersion, t.Sub.Kind
	}
	return t.Resource.APIVersion, t.Resource.Kind
}

// LongRunning reports whether the request lasts as long as the client likes, so that it is neither counted against the
// requests in flight nor ended by a deadline.
func (t *Target) LongRunning() bool {
	if t.Verb == Watch {
		return true
	}
	return t.Sub != nil && longRunning[t.Sub.Name] && t.Resource.Group == ""
}

var longRunning = map[string]bool{"log": true, "exec": true, "attach": true, "portforward": true, "proxy": true}

// Parse finds the target of a request. Watch says whether the query asks for a watch. Only the target of a Matched
// outcome is complete; after MethodNotAllowed it names the resource.
func (t *Table) Parse(method, path string, watch bool) (Target, Outcome) {
	version, rest, ok := cutVersion(path)
	if !ok || rest == "" {
		return Target{}, NotResource
	}
	resources := t.byVersion[version]
	if resources == nil {
		return Target{}, NotFound
	}
	legacyWatch := false
	if after, found := strings.CutPrefix(rest, "watch/"); found {
		legacyWatch, rest = true, after
	}
	target, found := locate(resources, rest)
	if !found {
		return Target{}, NotFound
	}
	if legacyWatch {
		if method != "GET" || target.Sub != nil {
			return target, MethodNotAllowed
		}
		target.Verb = Watch
	} else if !target.setVerb(method, watch) {
		return target, MethodNotAllowed
	}
	return target, target.check()
}

// cutVersion splits "/apis/apps/v1/deployments" into "apps/v1" and "deployments". Ok is false for paths that are under
// neither root or end before the version does.
func cutVersion(path string) (version, rest string, ok bool) {
	if after, found := strings.CutPrefix(path, "/api/"); found {
		version, rest, _ = strings.Cut(after, "/")
		return version, rest, version != ""
	}
	after, found := strings.CutPrefix(path, "/apis/")
	if !found {
		return "", "", false
	}
	group := strings.IndexByte(after, '/')
	if group <= 0 {
		return "", "", false
	}
	end := strings.IndexByte(after[group+1:], '/')
	if end < 0 {
		return after, "", true
	}
	end += group + 1
	return after[:end], after[end+1:], true
}

// locate reads what follows the version: [namespaces/<namespace>/]<resource>[/<name>[/<subresource>]].
func locate(resources map[string]*Resource, rest string) (Target, bool) {
	var seg [5]string
	n, ok := split(rest, seg[:])
	if !ok {
		return Target{}, false
	}
	parts := seg[:n]
	if parts[0] != "namespaces" || n < 3 {
		return place(resources, "", parts)
	}
	if ns := resources["namespaces"]; n == 3 && ns != nil && ns.subs[parts[2]] != nil {
		return place(resources, "", parts)
	}
	return place(resources, parts[1], parts[2:])
}

func place(resources map[string]*Resource, namespace string, parts []string) (Target, bool) {
	r := resources[parts[0]]
	if r == nil || len(parts) > 3 || (namespace != "" && !r.Namespaced) {
		return Target{}, false
	}
	t := Target{Resource: r, Namespace: namespace}
	if len(parts) > 1 {
		if r.Namespaced && namespace == "" {
			return Target{}, false
		}
		t.Name = parts[1]
	}
	if len(parts) > 2 {
		if t.Sub = r.subs[parts[2]]; t.Sub == nil {
			return Target{}, false
		}
	}
	return t, true
}

// split fills seg with the segments of path; one slash at the end is ignored. It fails on an empty segment and on more
// segments than fit.
func split(path string, seg []string) (int, bool) {
	path = strings.TrimSuffix(path, "/")
	for n := range seg {
		head, tail, more := strings.Cut(path, "/")
		if head == "" {
			return 0, false
		}
		seg[n] = head
		if !more {
			return n + 1, true
		}
		path = tail
	}
	return 0, false
}

func (t *Target) setVerb(method string, watch bool) bool {
	v, ok := methodVerbs[method]
	if !ok {
		return false
	}
	t.Verb = v.object
	if t.Name == "" {
		t.Verb = v.collection
	}
	if t.Verb == List && watch {
		t.Verb = Watch
	}
	return true
}

// check says whether the resource has the verb at this place: a namespaced resource is created and deleted inside a
// namespace, an object is created in its collection, and only an object is updated.
func (t *Target) check() Outcome {
	if t.Sub != nil {
		if !t.Sub.verbs.has(t.Verb) {
			return MethodNotAllowed
		}
		return Matched
	}
	misplaced := t.Verb == Create && t.Name != "" || (t.Verb == Update || t.Verb == Patch) && t.Name == ""
	everywhere := t.Resource.Namespaced && t.Namespace == ""
	if misplaced || !t.Resource.verbs.has(t.Verb) || everywhere && (t.Verb == Create || t.Verb == DeleteCollection) {
		return MethodNotAllowed
	}
	return Matched
}
