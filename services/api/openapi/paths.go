package openapi

import (
	"reflect"
	"slices"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"karve.dev/karve/services/api/registry"
)

// target is what the operations of one path are about.
type target struct {
	kind *registry.Kind
	// gvk and body are the kind's own, or the subresource's.
	gvk  schema.GroupVersionKind
	body object
	list object
	sub  string
	// all: across namespaces.
	all bool
}

// addPaths adds the paths of a kind and of its subresources.
func addPaths(paths object, s *schemas, k *registry.Kind) {
	t := target{kind: k, gvk: k.GroupVersionKind, body: s.kind(k.New(), k.GroupVersionKind)}
	if list := k.NewList(); list != nil {
		t.list = s.kind(list, k.GroupVersion().WithKind(k.ListKindName()))
	}
	addTarget(paths, s, t)
}

func addTarget(paths object, s *schemas, t target) {
	k := t.kind
	base := root(k.GroupVersion())
	collection := base + "/" + k.Resource
	if k.Namespaced {
		collection = base + "/namespaces/{namespace}/" + k.Resource
		everywhere := t
		everywhere.all = true
		addPath(paths, s, base+"/"+k.Resource, everywhere, verbsOf(k, "list"), nil)
	}
	addPath(paths, s, collection, t, verbsOf(k, "list", "create", "deletecollection"), namespaceOf(k))
	item := collection + "/{name}"
	addPath(paths, s, item, t, verbsOf(k, "get", "update", "patch", "delete"), itemOf(k))
	for _, sub := range subresources(k) {
		st := t
		st.sub = sub.Name
		if sub.Kind != (schema.GroupVersionKind{}) {
			st.gvk, st.body = sub.Kind, s.subresource(sub.Kind)
		}
		addPath(paths, s, item+"/"+sub.Name, st, sub.Verbs, itemOf(k))
	}
}

// subresources are the declared ones and the two that many kinds have.
func subresources(k *registry.Kind) []registry.Subresource {
	all := slices.Clone(k.Subresources)
	change := []string{"get", "update", "patch"}
	if k.PrepareStatus != nil {
		all = append(all, registry.Subresource{Name: "status", Verbs: change})
	}
	if k.Scale != nil {
		all = append(all, registry.Subresource{Name: "scale", Verbs: change, Kind: autoscalingv1.SchemeGroupVersion.WithKind("Scale")})
	}
	return all
}

// subresource is the schema of what a subresource carries; streams carry nothing that has one.
func (s *schemas) subresource(gvk schema.GroupVersionKind) object {
	obj, err := scheme.Scheme.New(gvk)
	if err != nil || strings.HasSuffix(gvk.Kind, "Options") {
		return nil
	}
	return s.kind(obj, gvk)
}

func verbsOf(k *registry.Kind, verbs ...string) []string {
	if len(k.Verbs) == 0 {
		return verbs
	}
	return slices.DeleteFunc(slices.Clone(verbs), func(v string) bool { return !slices.Contains(k.Verbs, v) })
}

func namespaceOf(k *registry.Kind) []object {
	if !k.Namespaced {
		return nil
	}
	return []object{pathParameter("namespace", "object name and auth scope, such as for teams and projects")}
}

func itemOf(k *registry.Kind) []object {
	return append([]object{pathParameter("name", "name of the "+k.Kind)}, namespaceOf(k)...)
}

// methods are how verbs travel.
var methods = map[string]string{
	"get": "get", "list": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete", "deletecollection": "delete",
}

// actions are the verbs' names in the documents.
var actions = map[string]string{
	"get": "get", "list": "list", "create": "post", "update": "put", "patch": "patch", "delete": "delete", "deletecollection": "deletecollection",
}

func addPath(paths object, s *schemas, path string, t target, verbs []string, parameters []object) {
	if len(verbs) == 0 {
		return
	}
	item := object{"parameters": append(slices.Clone(parameters), queryParameter("pretty", "string", "If 'true', then the output is pretty printed."))}
	for _, verb := range verbs {
		item[methods[verb]] = s.operation(verb, t)
	}
	paths[path] = item
}

func (s *schemas) operation(verb string, t target) object {
	gv := t.kind.GroupVersion()
	action := actions[verb]
	if t.body == nil {
		action = "connect"
	}
	op := object{
		"description": describe(verb, t), "operationId": operationID(verb, t), "tags": []string{tagOf(gv)},
		"responses": s.responses(verb, t), "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kindObject(t.gvk),
	}
	if parameters := queryParameters(verb, t); len(parameters) > 0 {
		op["parameters"] = parameters
	}
	if body := s.requestBody(verb, t); body != nil {
		op["requestBody"] = body
	}
	return op
}

func describe(verb string, t target) string {
	what := t.kind.Kind
	if t.sub != "" {
		what = t.sub + " of the specified " + what
		return map[string]string{"get": "read ", "create": "create ", "update": "replace ", "patch": "partially update ", "delete": "delete "}[verb] + what
	}
	switch verb {
	case "list":
		return "list or watch objects of kind " + what
	case "create":
		return "create a " + what
	case "deletecollection":
		return "delete collection of " + what
	}
	return map[string]string{"get": "read", "update": "replace", "patch": "partially update", "delete": "delete"}[verb] + " the specified " + what
}

// operationID is the name that generated clients give the call: readCoreV1NamespacedPodLog.
func operationID(verb string, t target) string {
	names := map[string]string{"get": "read", "list": "list", "create": "create", "update": "replace", "patch": "patch", "delete": "delete", "deletecollection": "deleteCollection"}
	name := names[verb]
	if t.body == nil {
		name = "connect" + title(methods[verb])
	}
	name += groupTitle(t.kind.GroupVersion())
	if t.kind.Namespaced && !t.all {
		name += "Namespaced"
	}
	name += t.kind.Kind + title(t.sub)
	if t.all {
		name += "ForAllNamespaces"
	}
	return name
}

func title(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// groupTitle is "AppsV1" for apps/v1.
func groupTitle(gv schema.GroupVersion) string {
	group, _, _ := strings.Cut(gv.Group, ".")
	if group == "" {
		group = "core"
	}
	return title(group) + title(gv.Version)
}

func tagOf(gv schema.GroupVersion) string {
	group, _, _ := strings.Cut(gv.Group, ".")
	if group == "" {
		group = "core"
	}
	return group + "_" + gv.Version
}

// The forms in which objects and patches travel.
var (
	bodyTypes  = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
	watchTypes = append(slices.Clone(bodyTypes), "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")

	patchTypes = []string{"application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"}
	// Strategic merge is for types that tell merge keys.
	customPatchTypes = patchTypes[:3]
)

func content(types []string, body object) object {
	out := object{}
	for _, t := range types {
		out[t] = object{"schema": body}
	}
	return out
}

func (s *schemas) requestBody(verb string, t target) object {
	switch {
	case t.body == nil:
		return nil
	case verb == "create" || verb == "update":
		return object{"required": true, "content": content([]string{"*/*"}, t.body)}
	case verb == "patch":
		types := patchTypes
		if t.kind.Custom != nil {
			types = customPatchTypes
		}
		return object{"required": true, "content": content(types, s.patch())}
	case verb == "delete" || verb == "deletecollection":
		return object{"content": content([]string{"*/*"}, s.kindless(&metav1.DeleteOptions{}))}
	}
	return nil
}

func (s *schemas) responses(verb string, t target) object {
	out := object{"401": object{"description": "Unauthorized"}}
	body, types := t.body, bodyTypes
	codes := []string{"200"}
	switch {
	case t.body == nil:
		out["200"] = object{"description": "OK", "content": content([]string{"*/*"}, object{"type": "string"})}
		return out
	case verb == "list":
		body, types = t.list, watchTypes
	case verb == "create":
		codes = []string{"200", "201", "202"}
	case verb == "update" || verb == "patch":
		codes = []string{"200", "201"}
	case verb == "delete":
		codes = []string{"200", "202"}
		body = s.kindless(&metav1.Status{})
	case verb == "deletecollection":
		body = s.kindless(&metav1.Status{})
	}
	for _, c := range codes {
		out[c] = object{"description": map[string]string{"200": "OK", "201": "Created", "202": "Accepted"}[c], "content": content(types, body)}
	}
	return out
}

// kindless is the schema of what all groups share; each group has it under its own version.
func (s *schemas) kindless(obj runtime.Object) object {
	return s.kind(obj, metav1.Unversioned.WithKind(reflect.TypeOf(obj).Elem().Name()))
}

// patch is the schema of a patch, which may be anything.
func (s *schemas) patch() object { return s.ref(reflect.TypeFor[metav1.Patch]()) }
