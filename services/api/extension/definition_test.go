package extension_test

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
)

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
