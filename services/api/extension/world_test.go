package extension_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
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
