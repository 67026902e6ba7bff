package lifecycle_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/api/apitest"
)

const definition = `{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
 "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"}, "versions": [
  {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}`

func (w *world) createJSON(apiVersion, kind, namespace, text string) error {
	rpc := apiv1.NewResourceServiceClient(w.api.Conn(apitest.Admin))
	_, err := rpc.Create(w.Context(), &apiv1.CreateRequest{
		Ref:    &apiv1.ObjectRef{ApiVersion: apiVersion, Kind: kind, Namespace: namespace},
		Object: &apiv1.Object{ApiVersion: apiVersion, Kind: kind, Encoding: apiv1.Encoding_ENCODING_JSON, Data: []byte(text)},
	})
	return apierr.FromGRPC(err)
}

func (w *world) thingGone(namespace, name string) bool {
	rpc := apiv1.NewResourceServiceClient(w.api.Conn(apitest.Admin))
	_, err := rpc.Get(w.Context(), &apiv1.GetRequest{Ref: &apiv1.ObjectRef{ApiVersion: "example.com/v1", Kind: "Thing", Namespace: namespace, Name: name}})
	return apierrors.IsNotFound(apierr.FromGRPC(err))
}

func TestCustomObjectsAreLookedAfterToo(t *testing.T) {
	w := start(t)
	owner, ns := configMap("default", "owner"), namespace("going")
	w.create(owner)
	w.create(ns)
	require.NoError(t, w.createJSON("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", definition))
	thing := fmt.Sprintf(`{"metadata": {"name": "owned", "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": %q}]}}`, owner.UID)
	w.eventually("the kind is served", func() bool { return w.createJSON("example.com/v1", "Thing", "default", thing) == nil })
	require.NoError(t, w.createJSON("example.com/v1", "Thing", "going", `{"metadata": {"name": "housed"}}`))

	require.NoError(t, w.admin.Delete(t.Context(), owner, client.DeleteOptions{}))
	w.eventually("garbage", func() bool { return w.thingGone("default", "owned") })
	require.NoError(t, w.admin.Delete(t.Context(), ns, client.DeleteOptions{}))
	w.eventually("what is in the namespace", func() bool { return w.thingGone("going", "housed") })
	w.eventually("the namespace", func() bool { return w.gone(ns) })
}
