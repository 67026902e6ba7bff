package extension_test

import (
	"context"
	"encoding/json"
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
	name := w.mustCreate(text).GetName()
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
