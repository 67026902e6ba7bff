package extension_test

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
)

const widgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
    selectableFields: [{jsonPath: .spec.color}]
    additionalPrinterColumns:
    - {name: Color, type: string, jsonPath: .spec.color}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            description: What the widget should be.
            required: [color]
            x-kubernetes-validations:
            - {rule: "self.replicas <= self.limit", message: "replicas must not exceed limit"}
            properties:
              color:
                type: string
                enum: [red, green, blue]
                x-kubernetes-validations: [{rule: "self == oldSelf", message: color is immutable}]
              replicas: {type: integer, minimum: 0, default: 1}
              limit: {type: integer, default: 10}
              tags: {type: array, x-kubernetes-list-type: set, items: {type: string}}
              template: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}
          status:
            type: object
            properties:
              replicas: {type: integer}
              selector: {type: string}
  - name: v1alpha1
    served: true
    storage: false
    deprecated: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

type world struct {
	t   *testing.T
	rpc apiv1.ResourceServiceClient
	c   *apitest.Cluster
}

func start(t *testing.T) *world {
	c := apitest.Start(t)
	return &world{t: t, c: c, rpc: apiv1.NewResourceServiceClient(c.Conn(apitest.Admin))}
}

func envelope(obj map[string]any) *apiv1.Object {
	data, _ := json.Marshal(obj)
	u := unstructured.Unstructured{Object: obj}
	return &apiv1.Object{ApiVersion: u.GetAPIVersion(), Kind: u.GetKind(), Encoding: apiv1.Encoding_ENCODING_JSON, Data: data}
}

func read(t *testing.T, text string) map[string]any {
	t.Helper()
	var out map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(text), &out))
	return out
}

func refOf(obj map[string]any) *apiv1.ObjectRef {
	u := unstructured.Unstructured{Object: obj}
	return &apiv1.ObjectRef{ApiVersion: u.GetAPIVersion(), Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName()}
}

var inJSON = &apiv1.Representation{Encoding: apiv1.Encoding_ENCODING_JSON}

func (w *world) create(text string) (*apiv1.Result, error) {
	obj := read(w.t, text)
	ref := refOf(obj)
	ref.Name = ""
	res, err := w.rpc.Create(w.t.Context(), &apiv1.CreateRequest{Ref: ref, Object: envelope(obj), As: inJSON})
	return res, apierr.FromGRPC(err)
}

func (w *world) mustCreate(text string) *unstructured.Unstructured {
	w.t.Helper()
	res, err := w.create(text)
	require.NoError(w.t, err)
	return object(w.t, res)
}

func object(t *testing.T, res *apiv1.Result) *unstructured.Unstructured {
	t.Helper()
	out := &unstructured.Unstructured{}
	require.NoError(t, utiljson.Unmarshal(res.GetObject().GetData(), &out.Object))
	return out
}

// define creates a definition and waits until it is established.
func (w *world) define(text string) *apiextensionsv1.CustomResourceDefinition {
	w.t.Helper()
	return w.established(w.mustCreate(text).GetName())
}

func (w *world) established(name string) *apiextensionsv1.CustomResourceDefinition {
	w.t.Helper()
	return w.await(name, func(d *apiextensionsv1.CustomResourceDefinition) bool {
		for _, c := range d.Status.Conditions {
			if c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue {
				return true
			}
		}
		return false
	})
}

func definitionRef(name string) *apiv1.ObjectRef {
	return &apiv1.ObjectRef{ApiVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition", Name: name}
}

// await watches a definition until it is as wanted.
func (w *world) await(name string, done func(*apiextensionsv1.CustomResourceDefinition) bool) *apiextensionsv1.CustomResourceDefinition {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	stream, err := w.rpc.Watch(ctx, &apiv1.WatchRequest{Ref: definitionRef(name), As: inJSON})
	require.NoError(w.t, err)
	for {
		res, err := stream.Recv()
		require.NoError(w.t, err)
		for _, ev := range res.GetEvents() {
			d := &apiextensionsv1.CustomResourceDefinition{}
			require.NoError(w.t, json.Unmarshal(ev.GetObject().GetData(), d))
			if done(d) {
				return d
			}
		}
	}
}

const red = `
apiVersion: example.com/v1
kind: Widget
metadata: {name: red, namespace: default}
spec: {color: red, nonsense: true, template: {apiVersion: v1, kind: Pod, metadata: {name: x, bogus: 1}, spec: {any: thing}}}
status: {replicas: 7}
`

func TestCustomObjectsLiveLikeOthers(t *testing.T) {
	w := start(t)
	d := w.define(widgets)
	require.Equal(t, []string{"v1"}, d.Status.StoredVersions)
	require.Equal(t, "WidgetList", d.Status.AcceptedNames.ListKind)

	res, err := w.create(red)
	require.NoError(t, err)
	require.Equal(t, []string{`unknown field "spec.nonsense"`, `unknown field "spec.template.metadata.bogus"`}, res.GetWarnings())
	obj := object(t, res)
	require.Equal(t, map[string]any{
		"color": "red", "replicas": int64(1), "limit": int64(10),
		"template": map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "x"}, "spec": map[string]any{"any": "thing"}},
	}, obj.Object["spec"])
	require.NotContains(t, obj.Object, "status")
	require.EqualValues(t, 1, obj.GetGeneration())

	ref := refOf(obj.Object)
	obj.Object["spec"].(map[string]any)["replicas"] = 3
	updated, err := w.rpc.Update(t.Context(), &apiv1.UpdateRequest{Ref: ref, Object: envelope(obj.Object), As: inJSON})
	require.NoError(t, err)
	obj = object(t, updated)
	require.EqualValues(t, 2, obj.GetGeneration())

	unconditional := obj.DeepCopy()
	unconditional.SetResourceVersion("")
	_, err = w.rpc.Update(t.Context(), &apiv1.UpdateRequest{Ref: ref, Object: envelope(unconditional.Object), As: inJSON})
	require.ErrorContains(t, apierr.FromGRPC(err), "metadata.resourceVersion: Invalid value: 0: must be specified for an update")

	ref.Subresource = "status"
	obj.Object["status"] = map[string]any{"replicas": 2, "selector": "a=b"}
	obj.Object["spec"].(map[string]any)["replicas"] = 9
	updated, err = w.rpc.Update(t.Context(), &apiv1.UpdateRequest{Ref: ref, Object: envelope(obj.Object), As: inJSON})
	require.NoError(t, err)
	obj = object(t, updated)
	require.EqualValues(t, 2, obj.GetGeneration())
	require.EqualValues(t, 3, obj.Object["spec"].(map[string]any)["replicas"])

	ref.Subresource = "scale"
	scale, err := w.rpc.Patch(t.Context(), &apiv1.PatchRequest{Ref: ref, Type: apiv1.PatchType_PATCH_TYPE_MERGE, Patch: []byte(`{"spec":{"replicas":5}}`), As: inJSON})
	require.NoError(t, err)
	require.Equal(t, map[string]any{"replicas": int64(2), "selector": "a=b"}, object(t, scale).Object["status"])

	ref.Subresource = ""
	_, err = w.rpc.Patch(t.Context(), &apiv1.PatchRequest{Ref: ref, Type: apiv1.PatchType_PATCH_TYPE_STRATEGIC_MERGE, Patch: []byte(`{}`), As: inJSON})
	require.True(t, apierrors.IsUnsupportedMediaType(apierr.FromGRPC(err)), "%v", err)
}

func TestWrongObjectsAreRefused(t *testing.T) {
	w := start(t)
	w.define(widgets)
	w.mustCreate(red)
	for text, want := range map[string]string{
		`{color: pink}`:                      `spec.color: Unsupported value: "pink": supported values: "red", "green", "blue"`,
		`{replicas: 1}`:                      `spec.color: Required value`,
		`{color: red, replicas: -1}`:         `spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0`,
		`{color: red, replicas: many}`:       `spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"`,
		`{color: red, replicas: 11}`:         `spec: Invalid value: replicas must not exceed limit`,
		`{color: red, tags: [a, a]}`:         `spec.tags[1]: Duplicate value: "a"`,
		`{color: red, template: {spec: {}}}`: `spec.template.apiVersion: Required value`,
	} {
		_, err := w.create("{apiVersion: example.com/v1, kind: Widget, metadata: {name: wrong, namespace: default}, spec: " + text + "}")
		require.True(t, apierrors.IsInvalid(err), "%s: %v", text, err)
		require.ErrorContains(t, err, want)
	}
	obj := read(t, red)
	_, err := w.rpc.Patch(t.Context(), &apiv1.PatchRequest{Ref: refOf(obj), Type: apiv1.PatchType_PATCH_TYPE_MERGE, Patch: []byte(`{"spec":{"color":"blue"}}`), As: inJSON})
	require.ErrorContains(t, apierr.FromGRPC(err), `spec.color: Invalid value: "blue": color is immutable`)
	_, err = w.rpc.Create(t.Context(), &apiv1.CreateRequest{
		Ref: &apiv1.ObjectRef{ApiVersion: "example.com/v1", Kind: "Widget", Namespace: "default"}, Object: envelope(obj), Options: &apiv1.WriteOptions{FieldValidation: "Strict"},
	})
	require.ErrorContains(t, apierr.FromGRPC(err), `strict decoding error: unknown field "spec.nonsense", unknown field "spec.template.metadata.bogus"`)
}

func TestVersionsShareObjects(t *testing.T) {
	w := start(t)
	w.define(widgets)
	w.mustCreate(red)
	ref := refOf(read(t, red))
	ref.ApiVersion = "example.com/v1alpha1"
	res, err := w.rpc.Get(t.Context(), &apiv1.GetRequest{Ref: ref, As: inJSON})
	require.NoError(t, err)
	require.Equal(t, []string{"example.com/v1alpha1 Widget is deprecated; use example.com/v1 Widget"}, res.GetWarnings())
	require.Equal(t, "example.com/v1alpha1", object(t, res).GetAPIVersion())
	res, err = w.rpc.Patch(t.Context(), &apiv1.PatchRequest{Ref: ref, Type: apiv1.PatchType_PATCH_TYPE_JSON, Patch: []byte(`[{"op":"add","path":"/extra","value":1}]`), As: inJSON})
	require.NoError(t, err)
	require.EqualValues(t, 1, object(t, res).Object["extra"])
	kv, err := w.c.Store.Get(t.Context(), "/registry/example.com/widgets/default/red")
	require.NoError(t, err)
	require.Contains(t, string(kv.Value), `"apiVersion":"example.com/v1"`)
	ref.ApiVersion = "example.com/v1"
	res, err = w.rpc.Get(t.Context(), &apiv1.GetRequest{Ref: ref, As: inJSON})
	require.NoError(t, err)
	require.NotContains(t, object(t, res).Object, "extra")
}

func TestFormsAndSelectors(t *testing.T) {
	w := start(t)
	w.define(widgets)
	w.mustCreate(red)
	ref := &apiv1.ObjectRef{ApiVersion: "example.com/v1", Kind: "Widget", Namespace: "default"}
	list := func(as *apiv1.Representation, fields string) *apiv1.Result {
		res, err := w.rpc.List(t.Context(), &apiv1.ListRequest{Ref: ref, As: as, FieldSelector: fields})
		require.NoError(t, err)
		return res
	}
	metadata := &metav1.PartialObjectMetadataList{}
	require.NoError(t, metadata.Unmarshal(list(&apiv1.Representation{Encoding: apiv1.Encoding_ENCODING_PROTOBUF, Form: apiv1.Form_FORM_METADATA}, "").GetObject().GetData()))
	require.Len(t, metadata.Items, 1)
	require.Equal(t, "red", metadata.Items[0].Name)
	require.NotEmpty(t, metadata.Items[0].ResourceVersion)

	table := &metav1.Table{}
	require.NoError(t, json.Unmarshal(list(&apiv1.Representation{Form: apiv1.Form_FORM_TABLE}, "").GetObject().GetData(), table))
	require.Equal(t, []any{"red", "red", float64(1)}, table.Rows[0].Cells)

	require.Len(t, object(t, list(inJSON, "spec.color=red")).Object["items"], 1)
	require.Empty(t, object(t, list(inJSON, "spec.color=blue")).Object["items"])
	_, err := w.rpc.List(t.Context(), &apiv1.ListRequest{Ref: ref, FieldSelector: "spec.limit=1"})
	require.ErrorContains(t, apierr.FromGRPC(err), "field label not supported: spec.limit")
}

func TestDeletingADefinitionDeletesItsObjects(t *testing.T) {
	w := start(t)
	w.define(widgets)
	w.mustCreate(red)
	kept := w.mustCreate(`{apiVersion: example.com/v1, kind: Widget, metadata: {name: kept, namespace: default, finalizers: [example.com/wait]}, spec: {color: blue}}`)
	_, err := w.rpc.Delete(t.Context(), &apiv1.DeleteRequest{Ref: definitionRef("widgets.example.com")})
	require.NoError(t, err)
	w.await("widgets.example.com", func(d *apiextensionsv1.CustomResourceDefinition) bool {
		for _, c := range d.Status.Conditions {
			if c.Type == apiextensionsv1.Terminating && c.Reason == "InstanceDeletionInProgress" {
				return true
			}
		}
		return false
	})
	_, err = w.create(`{apiVersion: example.com/v1, kind: Widget, metadata: {name: late, namespace: default}, spec: {color: blue}}`)
	require.True(t, apierrors.IsMethodNotSupported(err), "%v", err)
	_, err = w.rpc.Patch(t.Context(), &apiv1.PatchRequest{Ref: refOf(kept.Object), Type: apiv1.PatchType_PATCH_TYPE_MERGE, Patch: []byte(`{"metadata":{"finalizers":null}}`)})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := w.rpc.Get(t.Context(), &apiv1.GetRequest{Ref: definitionRef("widgets.example.com")})
		return apierrors.IsNotFound(apierr.FromGRPC(err))
	}, 10*time.Second, 5*time.Millisecond)
	require.Eventually(t, func() bool {
		_, err := w.rpc.Get(t.Context(), &apiv1.GetRequest{Ref: refOf(kept.Object)})
		return err != nil && apierr.FromGRPC(err).Error() == "the server could not find the requested resource"
	}, 10*time.Second, 5*time.Millisecond)
	w.define(widgets)
	w.mustCreate(red)
}

func (w *world) updateDefinition(name string, change func(*apiextensionsv1.CustomResourceDefinition)) error {
	res, err := w.rpc.Get(w.t.Context(), &apiv1.GetRequest{Ref: definitionRef(name), As: inJSON})
	require.NoError(w.t, err)
	d := &apiextensionsv1.CustomResourceDefinition{}
	require.NoError(w.t, json.Unmarshal(res.GetObject().GetData(), d))
	change(d)
	data, err := json.Marshal(d)
	require.NoError(w.t, err)
	_, err = w.rpc.Update(w.t.Context(), &apiv1.UpdateRequest{Ref: definitionRef(name), As: inJSON, Object: &apiv1.Object{
		ApiVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition", Encoding: apiv1.Encoding_ENCODING_JSON, Data: data,
	}})
	return apierr.FromGRPC(err)
}

func TestAChangedSchemaIsServedAtOnce(t *testing.T) {
	w := start(t)
	w.define(widgets)
	w.mustCreate(red)
	ref := refOf(read(t, red))
	stream, err := w.rpc.Watch(t.Context(), &apiv1.WatchRequest{Ref: ref, As: inJSON})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	require.NoError(t, w.updateDefinition("widgets.example.com", func(d *apiextensionsv1.CustomResourceDefinition) {
		d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["nonsense"] = apiextensionsv1.JSONSchemaProps{
			Type: "string", Default: &apiextensionsv1.JSON{Raw: []byte(`"known"`)},
		}
		d.Spec.Versions[0].SelectableFields = append(d.Spec.Versions[0].SelectableFields, apiextensionsv1.SelectableField{JSONPath: ".spec.nonsense"})
	}))
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF, "watches end, so that their clients see the new form")
	require.Eventually(t, func() bool {
		res, err := w.rpc.Get(t.Context(), &apiv1.GetRequest{Ref: ref, As: inJSON})
		require.NoError(t, err)
		return object(t, res).Object["spec"].(map[string]any)["nonsense"] == "known"
	}, 10*time.Second, time.Millisecond)
	list, err := w.rpc.List(t.Context(), &apiv1.ListRequest{Ref: &apiv1.ObjectRef{ApiVersion: "example.com/v1", Kind: "Widget"}, FieldSelector: "spec.nonsense=known", As: inJSON})
	require.NoError(t, err)
	require.Len(t, object(t, list).Object["items"], 1)
}

func TestWrongDefinitionsAreRefused(t *testing.T) {
	w := start(t)
	for change, want := range map[[2]string]string{
		{"{name: widgets.example.com}", "{name: wrong}"}:                          `metadata.name: Invalid value: "wrong": must be spec.names.plural+"."+spec.group`,
		{"storage: true", "storage: false"}:                                       `spec.versions: Invalid value: `,
		{"type: object\n        required: [spec]", "required: [spec]"}:            `spec.versions[0].schema.openAPIV3Schema.type: Required value`,
		{"self.replicas <= self.limit", "self.replicas <= self.nothing"}:          `undefined field 'nothing'`,
		{"{type: integer, default: 10}", "{type: integer, default: ten}"}:         `must be of type integer: "string"`,
		{"jsonPath: .spec.color}]", "jsonPath: .spec.tags}]"}:                     `selectableFields[0].jsonPath: Invalid value: ".spec.tags": must point to a field of type string, boolean or integer`,
		{"x-kubernetes-list-type: set", "x-kubernetes-list-type: sequence"}:       `x-kubernetes-list-type: Unsupported value: "sequence"`,
		{"names: {plural: widgets, kind: Widget", "names: {plural: widgets, k: "}: `spec.names.kind: Required value`,
	} {
		_, err := w.create(strings.Replace(widgets, change[0], change[1], 1))
		require.True(t, apierrors.IsInvalid(err), "%s: %v", change[1], err)
		require.ErrorContains(t, err, want)
	}
	res, err := w.create(strings.Replace(widgets, "selector: {type: string}", "selector: {type: string, format: fancy}", 1))
	require.NoError(t, err)
	require.Equal(t, []string{`unrecognized format "fancy"`}, res.GetWarnings())
	w.established("widgets.example.com")
	err = w.updateDefinition("widgets.example.com", func(d *apiextensionsv1.CustomResourceDefinition) { d.Spec.Scope = apiextensionsv1.ClusterScoped })
	require.ErrorContains(t, err, `spec.scope: Invalid value: "Cluster": field is immutable`)
}

func TestWebhookConversionSaysThatItIsMissing(t *testing.T) {
	w := start(t)
	w.define(strings.Replace(widgets, "  scope: Namespaced", `  scope: Namespaced
  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: "https://example.com/convert"}}}`, 1))
	w.mustCreate(red)
	ref := refOf(read(t, red))
	ref.ApiVersion = "example.com/v1alpha1"
	_, err := w.rpc.Get(t.Context(), &apiv1.GetRequest{Ref: ref, As: inJSON})
	require.ErrorContains(t, apierr.FromGRPC(err), "conversion webhook for example.com/v1, Kind=Widget failed")
	_, err = w.create(strings.Replace(red, "example.com/v1", "example.com/v1alpha1", 1))
	require.ErrorContains(t, err, "conversion webhook for example.com/v1alpha1, Kind=Widget failed")
}

func TestCustomObjectsSurviveTheAPI(t *testing.T) {
	w := start(t)
	w.define(widgets)
	w.mustCreate(red)
	other, err := api.New(api.Config{Store: w.c.Store, Tokens: w.c.Identity.Tokens})
	require.NoError(t, err)
	server := transport.NewServer(other.Interceptors())
	other.Register(server)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { _ = other.Run(ctx) })
	defer wait.Wait()
	defer cancel()
	select {
	case <-other.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("the second API service is not ready")
	}
	rpc := apiv1.NewResourceServiceClient(server.Conn(apitest.Admin))
	res, err := rpc.Get(t.Context(), &apiv1.GetRequest{Ref: refOf(read(t, red)), As: inJSON})
	require.NoError(t, err)
	require.Equal(t, "red", object(t, res).GetName())
	// A replica follows what another is told.
	_, err = w.rpc.Delete(t.Context(), &apiv1.DeleteRequest{Ref: definitionRef("widgets.example.com")})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := rpc.Get(t.Context(), &apiv1.GetRequest{Ref: refOf(read(t, red)), As: inJSON})
		return err != nil && apierr.FromGRPC(err).Error() == "the server could not find the requested resource"
	}, 10*time.Second, 5*time.Millisecond)
}

func TestServerSideApplyMergesByTheSchema(t *testing.T) {
	w := start(t)
	w.define(widgets)
	apply := func(manager, spec string) (*unstructured.Unstructured, error) {
		res, err := w.rpc.Patch(t.Context(), &apiv1.PatchRequest{
			Ref: refOf(read(t, red)), Type: apiv1.PatchType_PATCH_TYPE_APPLY, Options: &apiv1.WriteOptions{FieldManager: manager}, As: inJSON,
			Patch: []byte("{apiVersion: example.com/v1, kind: Widget, metadata: {name: red, namespace: default}, spec: " + spec + "}"),
		})
		if err != nil {
			return nil, apierr.FromGRPC(err)
		}
		return object(t, res), nil
	}
	_, err := apply("a", "{color: red, tags: [one]}")
	require.NoError(t, err)
	obj, err := apply("b", "{color: red, tags: [two]}")
	require.NoError(t, err)
	require.ElementsMatch(t, []any{"one", "two"}, obj.Object["spec"].(map[string]any)["tags"], "tags are a set")
	_, err = apply("a", "{color: red, tags: [one], limit: 3}")
	require.NoError(t, err)
	_, err = apply("b", "{color: red, tags: [two], limit: 4}")
	require.True(t, apierrors.IsConflict(err), "%v", err)
	obj, err = apply("a", "{color: red, limit: 3}")
	require.NoError(t, err)
	require.Equal(t, []any{"two"}, obj.Object["spec"].(map[string]any)["tags"])
	_, err = apply("a", "{color: red, nonsense: 3}")
	require.ErrorContains(t, err, "field not declared in schema")
}
