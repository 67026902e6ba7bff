package extension_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/services/api/webhook/webhooktest"
)

// gadgets have a host and a port in one field in v1, in which they are stored, and in two fields in v2.
const gadgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: gadgets, kind: Gadget}
  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v2, v1], clientConfig: {url: URL, caBundle: CA}}}
  versions:
  - name: v1
    served: true
    storage: true
    selectableFields: [{jsonPath: .address}]
    schema: {openAPIV3Schema: {type: object, properties: {address: {type: string}}}}
  - name: v2
    served: true
    storage: false
    subresources: {status: {}}
    selectableFields: [{jsonPath: .host}]
    schema: {openAPIV3Schema: {type: object, properties: {host: {type: string}, port: {type: string, default: "80"}, status: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}
`

// converter is a conversion webhook that counts.
type converter struct {
	*webhooktest.Server
	mu             sync.Mutex
	calls, objects int
	spoil          func(*apiextensionsv1.ConversionReview)
}

func (c *converter) counts() (calls, objects int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls, objects = c.calls, c.objects
	c.calls, c.objects = 0, 0
	return calls, objects
}

func (c *converter) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	review := &apiextensionsv1.ConversionReview{}
	if err := json.NewDecoder(req.Body).Decode(review); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	c.calls++
	review.Response = &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	for _, raw := range review.Request.Objects {
		c.objects++
		obj := &unstructured.Unstructured{}
		_ = json.Unmarshal(raw.Raw, obj)
		if strings.HasSuffix(review.Request.DesiredAPIVersion, "/v2") {
			address, _, _ := unstructured.NestedString(obj.Object, "address")
			host, port, _ := strings.Cut(address, ":")
			obj.Object["host"], obj.Object["port"] = host, port
			delete(obj.Object, "address")
		} else {
			obj.Object["address"] = fmt.Sprint(obj.Object["host"], ":", obj.Object["port"])
			delete(obj.Object, "host")
			delete(obj.Object, "port")
		}
		obj.SetAPIVersion(review.Request.DesiredAPIVersion)
		review.Response.ConvertedObjects = append(review.Response.ConvertedObjects, runtime.RawExtension{Object: obj})
	}
	review.Request = nil
	if c.spoil != nil {
		c.spoil(review)
	}
	_ = json.NewEncoder(rw).Encode(review)
}

func startConverting(t *testing.T) (*world, *converter) {
	w, c := start(t), &converter{}
	c.Server = webhooktest.Start(t, c)
	ca, err := json.Marshal(c.CA)
	require.NoError(t, err)
	w.define(strings.NewReplacer("URL", c.URL, "CA", string(ca)).Replace(gadgets))
	return w, c
}

func gadget(version, name, fields string) string {
	return "{apiVersion: example.com/" + version + ", kind: Gadget, metadata: {name: " + name + ", namespace: default}, " + fields + "}"
}

func gadgetRef(version, name string) *apiv1.ObjectRef {
	return &apiv1.ObjectRef{ApiVersion: "example.com/" + version, Kind: "Gadget", Namespace: "default", Name: name}
}

func (w *world) gadget(version, name string) (map[string]any, error) {
	res, err := w.rpc.Get(w.t.Context(), &apiv1.GetRequest{Ref: gadgetRef(version, name), As: inJSON})
	if err != nil {
		return nil, apierr.FromGRPC(err)
	}
	return object(w.t, res).Object, nil
}

func TestVersionsAreConvertedByAWebhook(t *testing.T) {
	w, c := startConverting(t)
	watching, stop := context.WithCancel(t.Context())
	stream, err := w.rpc.Watch(watching, &apiv1.WatchRequest{Ref: gadgetRef("v2", ""), As: inJSON})
	require.NoError(t, err)
	made := w.mustCreate(gadget("v2", "a", "host: h"))
	require.Equal(t, "80", made.Object["port"])
	ev, err := stream.Recv()
	require.NoError(t, err)
	require.Contains(t, string(ev.GetEvents()[0].GetObject().GetData()), `"host":"h"`)
	stop()
	for err == nil {
		_, err = stream.Recv()
	}

	stored, err := w.gadget("v1", "a")
	require.NoError(t, err)
	require.Equal(t, "h:80", stored["address"])
	require.NotContains(t, stored, "host")
	require.Equal(t, made.GetUID(), (&unstructured.Unstructured{Object: stored}).GetUID(), "the identity stays")

	_, err = w.rpc.Patch(t.Context(), &apiv1.PatchRequest{Ref: gadgetRef("v2", "a"), Type: apiv1.PatchType_PATCH_TYPE_MERGE, Patch: []byte(`{"port":"443"}`), As: inJSON})
	require.NoError(t, err)
	ref := gadgetRef("v2", "a")
	ref.Subresource = "status"
	_, err = w.rpc.Patch(t.Context(), &apiv1.PatchRequest{Ref: ref, Type: apiv1.PatchType_PATCH_TYPE_MERGE, Patch: []byte(`{"status":{"ready":"yes"},"port":"1"}`), As: inJSON})
	require.NoError(t, err)
	stored, err = w.gadget("v1", "a")
	require.NoError(t, err)
	require.Equal(t, "h:443", stored["address"])

	w.mustCreate(gadget("v1", "b", `address: "x:1"`))
	w.mustCreate(gadget("v1", "c", `address: "y:2"`))
	w.mustCreate(gadget("v1", "d", `address: "z:3"`))
	c.counts()
	for range 2 {
		res, err := w.rpc.List(t.Context(), &apiv1.ListRequest{Ref: gadgetRef("v2", ""), As: inJSON})
		require.NoError(t, err)
		list := &unstructured.UnstructuredList{}
		require.NoError(t, json.Unmarshal(res.GetObject().GetData(), list))
		require.Len(t, list.Items, 4)
		require.Equal(t, "y", list.Items[2].Object["host"])
	}
	calls, _ := c.counts()
	require.LessOrEqual(t, calls, 2, "a list is converted at once, and once")

	res, err := w.rpc.List(t.Context(), &apiv1.ListRequest{Ref: gadgetRef("v1", ""), As: inJSON, FieldSelector: "address=x:1"})
	require.NoError(t, err)
	require.Contains(t, string(res.GetObject().GetData()), `"name":"b"`)
	require.NotContains(t, string(res.GetObject().GetData()), `"name":"c"`)
	_, err = w.rpc.Delete(t.Context(), &apiv1.DeleteRequest{Ref: gadgetRef("v2", "b")})
	require.NoError(t, err)
}

func TestConversionFails(t *testing.T) {
	w, c := startConverting(t)
	w.mustCreate(gadget("v1", "a", `address: "x:1"`))
	const about = "conversion webhook for example.com/v1, Kind=Gadget "
	for want, spoil := range map[string]func(*apiextensionsv1.ConversionReview){
		about + "failed: no way": func(r *apiextensionsv1.ConversionReview) {
			r.Response.Result = metav1.Status{Status: metav1.StatusFailure, Message: "no way"}
		},
		about + "returned 0 objects, expected 1": func(r *apiextensionsv1.ConversionReview) { r.Response.ConvertedObjects = nil },
		about + `failed: expected response.uid=`: func(r *apiextensionsv1.ConversionReview) { r.Response.UID = "x" },
		about + "failed: no response provided":   func(r *apiextensionsv1.ConversionReview) { r.Response = nil },
		about + "returned invalid converted object at index 0: must have the same name: a != other": func(r *apiextensionsv1.ConversionReview) {
			r.Response.ConvertedObjects[0].Object.(*unstructured.Unstructured).SetName("other")
		},
		about + "returned invalid converted object at index 0: invalid groupVersion (expected example.com/v2, received v7)": func(r *apiextensionsv1.ConversionReview) {
			r.Response.ConvertedObjects[0].Object.(*unstructured.Unstructured).SetAPIVersion("v7")
		},
	} {
		c.mu.Lock()
		c.spoil = spoil
		c.mu.Unlock()
		_, err := w.gadget("v2", "a")
		require.ErrorContains(t, err, want)
		require.True(t, apierrors.IsInternalError(err))
	}
	_, err := w.create(gadget("v2", "b", "host: h"))
	require.ErrorContains(t, err, "conversion webhook for example.com/v2, Kind=Gadget")
	_, err = w.gadget("v1", "a")
	require.NoError(t, err, "the stored version needs nobody")

	c.Close()
	_, err = w.gadget("v2", "a")
	require.ErrorContains(t, err, about+`failed: Post "`+c.URL+`/?timeout=30s": `)
	_, err = w.rpc.List(t.Context(), &apiv1.ListRequest{Ref: gadgetRef("v2", ""), As: inJSON})
	require.ErrorContains(t, apierr.FromGRPC(err), about+"failed")
	_, err = w.rpc.Delete(t.Context(), &apiv1.DeleteRequest{Ref: definitionRef("gadgets.example.com")})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := w.rpc.Get(t.Context(), &apiv1.GetRequest{Ref: definitionRef("gadgets.example.com")})
		return apierrors.IsNotFound(apierr.FromGRPC(err))
	}, 10*time.Second, 5*time.Millisecond, "objects are deleted without their webhook")
}
