package openapi_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/cli-runtime/pkg/resource"
	clientopenapi "k8s.io/client-go/openapi"
	"k8s.io/client-go/openapi3"
	explain "k8s.io/kubectl/pkg/explain/v2"

	"karve.dev/karve/services/api/openapi"
	"karve.dev/karve/services/api/registry"
)

var update = flag.Bool("update", false, "write golden files anew")

// client gives kubectl's own code the documents, as its client for a server does.
type client struct{}

func (client) Paths() (map[string]clientopenapi.GroupVersion, error) {
	document, _, err := openapi.Document("", 3)
	if err != nil {
		return nil, err
	}
	var index struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	if err := json.Unmarshal(document, &index); err != nil {
		return nil, err
	}
	out := map[string]clientopenapi.GroupVersion{}
	for path, entry := range index.Paths {
		out[path] = groupVersion{strings.TrimPrefix(strings.TrimPrefix(path, "apis/"), "api/"), entry.ServerRelativeURL}
	}
	return out, nil
}

type groupVersion struct{ name, url string }

func (g groupVersion) Schema(string) ([]byte, error) {
	document, _, err := openapi.Document(g.name, 3)
	return document, err
}
func (g groupVersion) ServerRelativeURL() string { return g.url }

func golden(t *testing.T, file string, got []byte) {
	if *update {
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

func TestKubectlExplains(t *testing.T) {
	for file, q := range map[string]struct {
		resource  schema.GroupVersionResource
		fields    []string
		recursive bool
	}{
		"testdata/containers.txt": {schema.GroupVersionResource{Version: "v1", Resource: "pods"}, []string{"spec", "containers"}, true},
		"testdata/strategy.txt":   {schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, []string{"spec", "strategy"}, false},
		"testdata/service.txt":    {schema.GroupVersionResource{Version: "v1", Resource: "services"}, nil, false},
	} {
		var out bytes.Buffer
		require.NoError(t, explain.PrintModelDescription(q.fields, &out, client{}, q.resource, q.recursive, 0, "plaintext"))
		golden(t, file, out.Bytes())
	}
}

func TestEveryStoredKindIsExplained(t *testing.T) {
	for _, k := range registry.All() {
		var out bytes.Buffer
		gvr := k.GroupVersion().WithResource(k.Resource)
		require.NoError(t, explain.PrintModelDescription(nil, &out, client{}, gvr, true, 3, "plaintext"), k.Kind)
		require.Contains(t, out.String(), "KIND:       "+k.Kind+"\n")
		require.NotContains(t, out.String(), "DESCRIPTION:\n    <empty>", k.Kind)
	}
}

// kubectl asks the server to check fields only if the document of the kind says that it can.
func TestKubectlFindsFieldValidation(t *testing.T) {
	v := resource.NewQueryParamVerifierV3(nil, client{}, resource.QueryParamFieldValidation)
	for _, k := range registry.All() {
		if k.NewList() != nil && !k.Computed {
			require.NoError(t, v.HasSupport(k.GroupVersionKind))
		}
	}
}

// kubectl apply takes from the document how lists merge.
func TestPatchMetadata(t *testing.T) {
	doc, err := openapi3.NewRoot(client{}).GVSpec(schema.GroupVersion{Group: "apps", Version: "v1"})
	require.NoError(t, err)
	lookup := strategicpatch.PatchMetaFromOpenAPIV3{Schema: doc.Components.Schemas["io.k8s.api.apps.v1.Deployment"], SchemaList: doc.Components.Schemas}
	was := `{"spec":{"template":{"spec":{"containers":[{"name":"a","image":"a:1"},{"name":"b","image":"b:1"}]}}}}`
	now := `{"spec":{"template":{"spec":{"containers":[{"name":"a","image":"a:2"},{"name":"b","image":"b:1"}]}}}}`
	patch, err := strategicpatch.CreateThreeWayMergePatch([]byte(was), []byte(now), []byte(was), lookup, true)
	require.NoError(t, err)
	require.JSONEq(t, `{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"a"},{"name":"b"}],"containers":[{"name":"a","image":"a:2"}]}}}}`, string(patch))
}

func TestVersion2Parses(t *testing.T) {
	document, _, err := openapi.Document("", 2)
	require.NoError(t, err)
	parsed, err := openapi_v2.ParseDocument(document)
	require.NoError(t, err)
	require.NotEmpty(t, parsed.Definitions.AdditionalProperties)
}

func TestReferencesLeadSomewhere(t *testing.T) {
	for _, k := range registry.All() {
		document, _, err := openapi.Document(k.GroupVersion().String(), 3)
		require.NoError(t, err)
		var doc struct {
			Components struct{ Schemas map[string]any }
		}
		require.NoError(t, json.Unmarshal(document, &doc))
		for _, part := range strings.Split(string(document), `"$ref":"#/components/schemas/`)[1:] {
			name, _, _ := strings.Cut(part, `"`)
			require.Contains(t, doc.Components.Schemas, name)
		}
	}
}

// Clients keep a document under its tag. If this fails though no kind or marker changed, raise the constant format.
func TestTagChangesWithTheDocument(t *testing.T) {
	h := sha256.New()
	for _, gv := range []string{"v1", "apps/v1", "batch/v1"} {
		document, etag, err := openapi.Document(gv, 3)
		require.NoError(t, err)
		h.Write(document)
		again, same, err := openapi.Document(gv, 3)
		require.NoError(t, err)
		require.Equal(t, etag, same)
		require.True(t, bytes.Equal(document, again))
		h.Write([]byte(etag))
	}
	golden(t, "testdata/sum.txt", []byte(hex.EncodeToString(h.Sum(nil))+"\n"))
}

func TestUnknownDocuments(t *testing.T) {
	for _, q := range []struct {
		gv    string
		major int
	}{{"nope/v1", 3}, {"a/b/c", 3}, {"v1", 2}, {"", 4}} {
		_, _, err := openapi.Document(q.gv, q.major)
		require.ErrorIs(t, err, openapi.ErrUnknown)
	}
}

func TestMarkersAreUpToDate(t *testing.T) {
	out, err := exec.Command("go", "run", "./internal/markers").Output()
	require.NoError(t, err)
	have, err := os.ReadFile("markers.txt")
	require.NoError(t, err)
	require.Equal(t, string(have), string(out), "run go generate")
}

func BenchmarkDocument(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		document, _, err := openapi.Document("v1", 3)
		require.NoError(b, err)
		b.ReportMetric(float64(len(document)), "document-bytes")
	}
}
