package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/store"
)

// world is an API service and an administrator's ways to it.
type world struct {
	*apitest.Cluster
	*client.Client
	rpc apiv1.ResourceServiceClient
	ctx context.Context
}

func newWorld(t testing.TB) *world {
	c := apitest.Start(t)
	return &world{c, c.Client(apitest.Admin), apiv1.NewResourceServiceClient(c.Conn(apitest.Admin)), t.Context()}
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: "default"} }

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: named(name), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
}

func newConfigMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: named(name), Data: map[string]string{"k": "v"}}
}

func refTo(kind, name, subresource string) *apiv1.ObjectRef {
	return &apiv1.ObjectRef{ApiVersion: "v1", Kind: kind, Namespace: "default", Name: name, Subresource: subresource}
}

func inJSON(form apiv1.Form) *apiv1.Representation {
	return &apiv1.Representation{Encoding: apiv1.Encoding_ENCODING_JSON, Form: form}
}

func jsonObject(body string) *apiv1.Object {
	return &apiv1.Object{Encoding: apiv1.Encoding_ENCODING_JSON, Data: []byte(body)}
}

// bind puts a pod on a node, so that deleting it takes its grace period.
func (w *world) bind(t *testing.T, p *corev1.Pod) {
	t.Helper()
	require.NoError(t, w.CreateSubresource(w.ctx, p, &corev1.Binding{ObjectMeta: named(p.Name), Target: corev1.ObjectReference{Name: "n"}}, p.Name, "binding"))
}

func TestNamesAreGenerated(t *testing.T) {
	w := newWorld(t)
	seen := map[string]bool{}
	for range 20 {
		cm := newConfigMap("")
		cm.GenerateName = "web-"
		require.NoError(t, w.Create(w.ctx, cm))
		require.Regexp(t, `^web-[a-z0-9]{5}$`, cm.Name)
		require.False(t, seen[cm.Name])
		seen[cm.Name] = true
	}
	require.ErrorContains(t, w.Create(w.ctx, newConfigMap("")), "metadata.name: Required value: name or generateName is required")
}

func TestGracefulDeletion(t *testing.T) {
	w := newWorld(t)
	p := newPod("p")
	require.NoError(t, w.Create(w.ctx, p))
	w.bind(t, p)

	require.NoError(t, w.Delete(w.ctx, p, client.DeleteOptions{}))
	require.NoError(t, w.Get(w.ctx, p, "default", "p"))
	require.Equal(t, int64(30), *p.DeletionGracePeriodSeconds)
	first := p.DeletionTimestamp.Time

	// Asking again changes nothing; asking for less shortens; more is not to be had.
	version := p.ResourceVersion
	longer, shorter := int64(60), int64(10)
	for _, o := range []client.DeleteOptions{{}, {GracePeriodSeconds: &longer}} {
		require.NoError(t, w.Delete(w.ctx, p, o))
		require.NoError(t, w.Get(w.ctx, p, "default", "p"))
		require.Equal(t, version, p.ResourceVersion)
	}
	require.NoError(t, w.Delete(w.ctx, p, client.DeleteOptions{GracePeriodSeconds: &shorter}))
	require.NoError(t, w.Get(w.ctx, p, "default", "p"))
	require.Equal(t, 20.0, first.Sub(p.DeletionTimestamp.Time).Seconds())

	// A terminating pod cannot be bound, and an update cannot bring it back.
	p.DeletionTimestamp = nil
	p.Labels = map[string]string{"still": "here"}
	require.NoError(t, w.Update(w.ctx, p))
	require.NotNil(t, p.DeletionTimestamp)

	now := int64(0)
	require.NoError(t, w.Delete(w.ctx, p, client.DeleteOptions{GracePeriodSeconds: &now}))
	require.True(t, apierrors.IsNotFound(w.Get(w.ctx, p, "default", "p")))
}

func TestFinalizersKeepAnObject(t *testing.T) {
	w := newWorld(t)
	cm := newConfigMap("held")
	cm.Finalizers = []string{"example.com/hold"}
	require.NoError(t, w.Create(w.ctx, cm))
	require.NoError(t, w.Delete(w.ctx, cm, client.DeleteOptions{Propagation: metav1.DeletePropagationForeground}))
	require.NoError(t, w.Get(w.ctx, cm, "default", "held"))
	require.NotNil(t, cm.DeletionTimestamp)
	require.Equal(t, []string{"example.com/hold", "foregroundDeletion"}, cm.Finalizers)

	more := cm.DeepCopy()
	more.Finalizers = append(more.Finalizers, "example.com/late")
	require.ErrorContains(t, w.Update(w.ctx, more), "no new finalizers can be added if the object is being deleted")

	cm.Finalizers = nil
	require.NoError(t, w.Update(w.ctx, cm))
	require.True(t, apierrors.IsNotFound(w.Get(w.ctx, cm, "default", "held")))
}

func TestNamespaces(t *testing.T) {
	w := newWorld(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}
	require.NoError(t, w.Create(w.ctx, ns))
	require.Equal(t, corev1.NamespaceActive, ns.Status.Phase)
	cm := newConfigMap("x")
	cm.Namespace = "team"
	require.NoError(t, w.Create(w.ctx, cm))

	require.NoError(t, w.Delete(w.ctx, ns, client.DeleteOptions{}))
	require.NoError(t, w.Get(w.ctx, ns, "", "team"))
	require.Equal(t, corev1.NamespaceTerminating, ns.Status.Phase)
	late := newConfigMap("late")
	late.Namespace = "team"
	err := w.Create(w.ctx, late)
	require.True(t, apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), "%v", err)

	// Whoever has emptied it takes its finalizer away.
	ns.Spec.Finalizers = nil
	body, _ := json.Marshal(ns)
	_, err = w.rpc.Update(w.ctx, &apiv1.UpdateRequest{Ref: &apiv1.ObjectRef{ApiVersion: "v1", Kind: "Namespace", Name: "team", Subresource: "finalize"}, Object: jsonObject(string(body))})
	require.NoError(t, err)
	require.True(t, apierrors.IsNotFound(w.Get(w.ctx, ns, "", "team")))

	err = w.Delete(w.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, client.DeleteOptions{})
	require.EqualError(t, err, `namespaces "default" is forbidden: this namespace may not be deleted`)
}

func TestPatches(t *testing.T) {
	w := newWorld(t)
	p := newPod("p")
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "side", Image: "s"})
	require.NoError(t, w.Create(w.ctx, p))

	require.NoError(t, w.Patch(w.ctx, p, types.StrategicMergePatchType, []byte(`{"spec":{"containers":[{"name":"side","image":"s2"}]}}`), ""))
	require.Equal(t, "i", p.Spec.Containers[0].Image, "containers merge by name")
	require.Equal(t, "s2", p.Spec.Containers[1].Image)
	require.NoError(t, w.Patch(w.ctx, p, types.JSONPatchType, []byte(`[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]`), ""))
	require.Equal(t, map[string]string{"a": "b"}, p.Labels)
	require.NoError(t, w.Patch(w.ctx, p, types.MergePatchType, []byte(`{"metadata":{"labels":{"a":null,"c":"d"}}}`), ""))
	require.Equal(t, map[string]string{"c": "d"}, p.Labels)
	require.NoError(t, w.Patch(w.ctx, p, types.MergePatchType, []byte(`{"status":{"phase":"Running"}}`), "status"))
	require.Equal(t, corev1.PodRunning, p.Status.Phase)

	// One that changes nothing writes nothing; one with an old resourceVersion conflicts.
	version := p.ResourceVersion
	require.NoError(t, w.Patch(w.ctx, p, types.MergePatchType, []byte(`{"metadata":{"labels":{"c":"d"}}}`), ""))
	require.Equal(t, version, p.ResourceVersion)
	require.True(t, apierrors.IsConflict(w.Patch(w.ctx, p, types.MergePatchType, []byte(`{"metadata":{"resourceVersion":"1","labels":{"c":"e"}}}`), "")))

	for _, bad := range []struct {
		kind    apiv1.PatchType
		patch   string
		options *apiv1.WriteOptions
		check   func(error) bool
		text    string
	}{
		{apiv1.PatchType_PATCH_TYPE_MERGE, `{"spec":{"foo":1}}`, &apiv1.WriteOptions{FieldValidation: "Strict"}, apierrors.IsInvalid, `strict decoding error: unknown field "spec.foo"`},
		{apiv1.PatchType_PATCH_TYPE_MERGE, `{"spec":{"containers":"x"}}`, nil, apierrors.IsInvalid, "cannot unmarshal string"},
		{apiv1.PatchType_PATCH_TYPE_MERGE, `nonsense`, nil, apierrors.IsBadRequest, "invalid JSON patch"},
		{apiv1.PatchType_PATCH_TYPE_JSON, `{"op":"add"}`, nil, apierrors.IsBadRequest, ""},
		{apiv1.PatchType_PATCH_TYPE_JSON, `[{"op":"remove","path":"/nope"}]`, nil, apierrors.IsInvalid, "the server rejected our request due to an error in our request"},
		{apiv1.PatchType_PATCH_TYPE_MERGE, `{"metadata":{"name":"other"}}`, nil, apierrors.IsBadRequest, "does not match"},
		{apiv1.PatchType_PATCH_TYPE_APPLY, `{}`, nil, apierrors.IsInvalid, "fieldManager: Required value: is required for apply patch"},
	} {
		_, err := w.rpc.Patch(w.ctx, &apiv1.PatchRequest{Ref: refTo("Pod", "p", ""), Type: bad.kind, Patch: []byte(bad.patch), Options: bad.options})
		err = apierr.FromGRPC(err)
		require.True(t, bad.check(err), "%s: %v", bad.patch, err)
		require.ErrorContains(t, err, bad.text)
	}
	err := w.Patch(w.ctx, newPod("missing"), types.MergePatchType, []byte(`{}`), "")
	require.EqualError(t, err, `pods "missing" not found`)
}

func TestDryRunStoresNothing(t *testing.T) {
	w := newWorld(t)
	dry := &apiv1.WriteOptions{DryRun: true}
	_, err := w.rpc.Create(w.ctx, &apiv1.CreateRequest{Ref: refTo("ConfigMap", "", ""), Object: jsonObject(`{"metadata":{"name":"a"}}`), Options: dry})
	require.NoError(t, err)
	require.True(t, apierrors.IsNotFound(w.Get(w.ctx, newConfigMap(""), "default", "a")))

	cm := newConfigMap("b")
	require.NoError(t, w.Create(w.ctx, cm))
	_, err = w.rpc.Create(w.ctx, &apiv1.CreateRequest{Ref: refTo("ConfigMap", "", ""), Object: jsonObject(`{"metadata":{"name":"b"}}`), Options: dry})
	require.True(t, apierrors.IsAlreadyExists(apierr.FromGRPC(err)))
	_, err = w.rpc.Patch(w.ctx, &apiv1.PatchRequest{Ref: refTo("ConfigMap", "b", ""), Type: apiv1.PatchType_PATCH_TYPE_MERGE, Patch: []byte(`{"data":{"k":"w"}}`), Options: dry})
	require.NoError(t, err)
	_, err = w.rpc.Delete(w.ctx, &apiv1.DeleteRequest{Ref: refTo("ConfigMap", "b", ""), Options: &apiv1.DeleteOptions{DryRun: true}})
	require.NoError(t, err)
	got := &corev1.ConfigMap{}
	require.NoError(t, w.Get(w.ctx, got, "default", "b"))
	require.Equal(t, cm, got)
}

func TestPreconditions(t *testing.T) {
	w := newWorld(t)
	cm := newConfigMap("a")
	require.NoError(t, w.Create(w.ctx, cm))
	err := w.Delete(w.ctx, cm, client.DeleteOptions{UID: "other"})
	require.True(t, apierrors.IsConflict(err))
	require.ErrorContains(t, err, "Precondition failed: UID in precondition: other, UID in object meta: "+string(cm.UID))
	require.True(t, apierrors.IsConflict(w.Delete(w.ctx, cm, client.DeleteOptions{ResourceVersion: "1"})))
	changed := cm.DeepCopy()
	changed.UID = "other"
	require.True(t, apierrors.IsConflict(w.Update(w.ctx, changed)))
	require.NoError(t, w.Delete(w.ctx, cm, client.DeleteOptions{UID: cm.UID, ResourceVersion: cm.ResourceVersion}))

	res, err := w.rpc.Update(w.ctx, &apiv1.UpdateRequest{Ref: refTo("ConfigMap", "a", ""), Object: jsonObject(`{"metadata":{"name":"a"}}`)})
	require.Nil(t, res)
	require.EqualError(t, apierr.FromGRPC(err), `configmaps "a" not found`)
}

func TestMetadataIsValidated(t *testing.T) {
	w := newWorld(t)
	for _, bad := range []struct {
		change func(*metav1.ObjectMeta)
		text   string
	}{
		{func(m *metav1.ObjectMeta) { m.Name = "No_Good" }, `metadata.name: Invalid value: "No_Good": a lowercase RFC 1123 subdomain`},
		{func(m *metav1.ObjectMeta) { m.Labels = map[string]string{"a": "not ok"} }, `metadata.labels: Invalid value: "not ok"`},
		{func(m *metav1.ObjectMeta) { m.Annotations = map[string]string{"no good": ""} }, `metadata.annotations: Invalid value: "no good"`},
		{func(m *metav1.ObjectMeta) { m.OwnerReferences = []metav1.OwnerReference{{Kind: "X"}} }, `metadata.ownerReferences[0].apiVersion: Required value`},
		{func(m *metav1.ObjectMeta) { m.ResourceVersion = "3" }, `resourceVersion should not be set on objects to be created`},
	} {
		cm := newConfigMap("x")
		bad.change(&cm.ObjectMeta)
		require.ErrorContains(t, w.Create(w.ctx, cm), bad.text)
	}
	_, err := w.rpc.Create(w.ctx, &apiv1.CreateRequest{Ref: refTo("ConfigMap", "", ""), Object: jsonObject(`{"metadata":{"name":"x","namespace":"other"}}`)})
	require.ErrorContains(t, err, "the namespace of the provided object does not match the namespace sent on the request")
	_, err = w.rpc.Create(w.ctx, &apiv1.CreateRequest{Ref: refTo("ConfigMap", "", ""), Object: jsonObject(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"}}`)})
	require.True(t, apierrors.IsBadRequest(apierr.FromGRPC(err)), "%v", err)
}

func TestForbiddenAndImpersonation(t *testing.T) {
	w := newWorld(t)
	jane := w.Cluster.Client(identity.User{Name: "jane"})
	err := jane.Get(w.ctx, newConfigMap(""), "default", "a")
	require.True(t, apierrors.IsForbidden(err))
	require.ErrorContains(t, err, `configmaps "a" is forbidden: User "jane" cannot get resource "configmaps" in API group "" in the namespace "default"`)
	_, err = w.rpc.Get(w.ctx, &apiv1.GetRequest{Ref: refTo("Unicorn", "x", "")})
	require.EqualError(t, apierr.FromGRPC(err), "the server could not find the requested resource")
}

func TestDeleteCollection(t *testing.T) {
	w := newWorld(t)
	for i := range 150 {
		cm := newConfigMap(fmt.Sprintf("a-%d", i))
		cm.Labels = map[string]string{"group": "a"}
		require.NoError(t, w.Create(w.ctx, cm))
	}
	held := newConfigMap("held")
	held.Labels, held.Finalizers = map[string]string{"group": "a"}, []string{"example.com/hold"}
	require.NoError(t, w.Create(w.ctx, held))
	require.NoError(t, w.Create(w.ctx, newConfigMap("other")))
	_, err := w.rpc.DeleteCollection(w.ctx, &apiv1.DeleteCollectionRequest{Ref: refTo("ConfigMap", "", ""), LabelSelector: "group=a"})
	require.NoError(t, err)
	left := &corev1.ConfigMapList{}
	require.NoError(t, w.List(w.ctx, left, client.ListOptions{Namespace: "default"}))
	require.Len(t, left.Items, 2)
	require.NotNil(t, left.Items[0].DeletionTimestamp)
	require.Equal(t, "other", left.Items[1].Name)

	// Services give their addresses back.
	for i := range 3 {
		require.NoError(t, w.Create(w.ctx, &corev1.Service{ObjectMeta: named(fmt.Sprintf("s-%d", i)), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}))
	}
	_, err = w.rpc.DeleteCollection(w.ctx, &apiv1.DeleteCollectionRequest{Ref: refTo("Service", "", "")})
	require.NoError(t, err)
	kvs, _, err := w.Store.List(w.ctx, "/registry/allocations/", store.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, kvs)
}

// TestRefusalsWarnToo: what a client should know besides comes with the error.
func TestRefusalsWarnToo(t *testing.T) {
	w := newWorld(t)
	_, err := w.rpc.Create(w.ctx, &apiv1.CreateRequest{
		Ref: refTo("Pod", "", ""), Object: jsonObject(`{"metadata":{"name":"p"},"spec":{"containres":[]}}`), As: inJSON(apiv1.Form_FORM_UNSPECIFIED),
	})
	require.True(t, apierrors.IsInvalid(apierr.FromGRPC(err)), "%v", err)
	require.Equal(t, []string{`unknown field "spec.containres"`}, apierr.Warnings(err))
}
