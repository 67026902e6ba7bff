package extension_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
)

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
