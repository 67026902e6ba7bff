package extension_test

import (
	"encoding/json"
	"strings"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/openapi"
)

func TestDocumentsDescribeCustomKinds(t *testing.T) {
	c := apitest.Start(t, func(c *api.Config) { c.OpenAPI = openapi.Document })
	w := &world{t: t, c: c, rpc: apiv1.NewResourceServiceClient(c.Conn(apitest.Admin))}
	discovery := apiv1.NewDiscoveryServiceClient(c.Conn(apitest.Admin))
	document := func(groupVersion string, major int32) *apiv1.GetOpenAPIResponse {
		res, err := discovery.GetOpenAPI(t.Context(), &apiv1.GetOpenAPIRequest{GroupVersion: groupVersion, Major: major})
		require.NoError(t, err)
		return res
	}
	without := document("", 3)
	w.define(widgets)
	index := document("", 3)
	require.NotEqual(t, without.GetEtag(), index.GetEtag())
	own := document("example.com/v1", 3)
	require.Contains(t, string(index.GetDocument()), "/openapi/v3/apis/example.com/v1?hash="+own.GetEtag())
	require.Contains(t, string(index.GetDocument()), `"apis/apps/v1"`)

	var doc struct {
		Paths      map[string]any
		Components struct{ Schemas map[string]any }
	}
	require.NoError(t, json.Unmarshal(own.GetDocument(), &doc))
	require.Contains(t, doc.Paths, "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}/scale")
	for _, part := range strings.Split(string(own.GetDocument()), `"$ref":"#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		require.Contains(t, doc.Components.Schemas, name)
	}

	all, err := openapi_v2.ParseDocument(document("", 2).GetDocument())
	require.NoError(t, err)
	var names []string
	for _, d := range all.Definitions.AdditionalProperties {
		names = append(names, d.Name)
	}
	require.Contains(t, names, "com.example.v1.Widget")
	require.Contains(t, names, "io.k8s.api.core.v1.Pod")

	require.NoError(t, w.updateDefinition("widgets.example.com", func(d *apiextensionsv1.CustomResourceDefinition) {
		d.Spec.Versions[0].Schema.OpenAPIV3Schema.Description = "Another."
	}))
	require.Eventually(t, func() bool {
		now := document("example.com/v1", 3)
		return now.GetEtag() != own.GetEtag() && strings.Contains(string(now.GetDocument()), "Another.")
	}, 10e9, 1e6)
}
