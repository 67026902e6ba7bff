package apitest_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/api/apitest"
)

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"app": name}}, Data: map[string]string{"k": "v"}}
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "img"}}},
	}
}

func TestEverydayVerbs(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()

	cm := configMap("a")
	require.NoError(t, cl.Create(ctx, cm))
	require.NotEmpty(t, cm.UID)
	require.NotEmpty(t, cm.ResourceVersion)
	require.ErrorContains(t, cl.Create(ctx, configMap("a")), `configmaps "a" already exists`)

	got := &corev1.ConfigMap{}
	require.NoError(t, cl.Get(ctx, got, "default", "a"))
	require.Equal(t, cm, got)
	require.EqualError(t, cl.Get(ctx, got, "default", "b"), `configmaps "b" not found`)

	w, err := cl.Watch(ctx, &corev1.ConfigMap{}, client.ListOptions{Namespace: "default"}, cm.ResourceVersion)
	require.NoError(t, err)

	cm.Data["k"] = "w"
	before := cm.ResourceVersion
	require.NoError(t, cl.Update(ctx, cm))
	require.NotEqual(t, before, cm.ResourceVersion)
	same := cm.DeepCopy()
	require.NoError(t, cl.Update(ctx, same))
	require.Equal(t, cm.ResourceVersion, same.ResourceVersion, "an update that changes nothing writes nothing")

	stale := cm.DeepCopy()
	stale.ResourceVersion = before
	stale.Data["k"] = "stale"
	err = cl.Update(ctx, stale)
	require.True(t, apierrors.IsConflict(err))
	require.EqualError(t, err, `Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again`)

	require.NoError(t, cl.Patch(ctx, cm, types.MergePatchType, []byte(`{"data":{"x":"y"}}`), ""))
	require.Equal(t, map[string]string{"k": "w", "x": "y"}, cm.Data)

	list := &corev1.ConfigMapList{}
	require.NoError(t, cl.List(ctx, list, client.ListOptions{Namespace: "default", LabelSelector: "app=a"}))
	require.Len(t, list.Items, 1)
	require.NoError(t, cl.Delete(ctx, cm, client.DeleteOptions{}))
	require.True(t, apierrors.IsNotFound(cl.Get(ctx, got, "default", "a")))

	for _, want := range []apiv1.WatchEvent_Type{apiv1.WatchEvent_TYPE_MODIFIED, apiv1.WatchEvent_TYPE_MODIFIED, apiv1.WatchEvent_TYPE_DELETED} {
		ev, err := w.Next()
		require.NoError(t, err)
		require.Equal(t, want, ev.Type)
	}
}

func TestPodLife(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()

	p := pod("p")
	require.NoError(t, cl.Create(ctx, p))
	require.Equal(t, "default", p.Spec.ServiceAccountName)
	require.Len(t, p.Spec.Tolerations, 2)
	require.NotEmpty(t, p.Spec.Volumes)

	require.ErrorContains(t, cl.Create(ctx, func() *corev1.Pod { p := pod("q"); p.Namespace = "nope"; return p }()), `namespaces "nope" not found`)

	// A pod that nobody runs goes at once.
	require.NoError(t, cl.Delete(ctx, p, client.DeleteOptions{}))
	require.True(t, apierrors.IsNotFound(cl.Get(ctx, p, "default", "p")))
}

func TestJSONIsWhatKubernetesGives(t *testing.T) {
	c := apitest.Start(t)
	rpc, ctx := apiv1.NewResourceServiceClient(c.Conn(apitest.Admin)), t.Context()
	ref := &apiv1.ObjectRef{ApiVersion: "v1", Kind: "ConfigMap", Namespace: "default"}
	as := &apiv1.Representation{Encoding: apiv1.Encoding_ENCODING_JSON}
	send := func(body, validation string) (*apiv1.Result, error) {
		return rpc.Create(ctx, &apiv1.CreateRequest{Ref: ref, As: as,
			Object:  &apiv1.Object{Encoding: apiv1.Encoding_ENCODING_JSON, Data: []byte(body)},
			Options: &apiv1.WriteOptions{FieldValidation: validation}})
	}
	res, err := send(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"b"}}`, "Strict")
	require.NoError(t, err)
	require.True(t, res.Created)
	var obj map[string]any
	require.NoError(t, json.Unmarshal(res.Object.Data, &obj))
	require.Equal(t, "ConfigMap", obj["kind"])
	require.Equal(t, "v1", obj["apiVersion"])

	_, err = send(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"y"},"foo":"b"}`, "Strict")
	require.ErrorContains(t, err, `strict decoding error: unknown field "foo"`)
	res, err = send(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"y"},"foo":"b"}`, "Warn")
	require.NoError(t, err)
	require.Equal(t, []string{`unknown field "foo"`}, res.Warnings)

	list, err := rpc.List(ctx, &apiv1.ListRequest{Ref: ref, As: as, Limit: 1})
	require.NoError(t, err)
	var got corev1.ConfigMapList
	require.NoError(t, json.Unmarshal(list.Object.Data, &got))
	require.Equal(t, "ConfigMapList", got.Kind)
	require.Empty(t, got.Items[0].Kind)
	require.NotEmpty(t, got.Continue)
	rest, err := rpc.List(ctx, &apiv1.ListRequest{Ref: ref, As: as, Limit: 10, Continue: got.Continue})
	require.NoError(t, err)
	var next corev1.ConfigMapList
	require.NoError(t, json.Unmarshal(rest.Object.Data, &next))
	require.Equal(t, "y", next.Items[0].Name)

	_, err = rpc.List(ctx, &apiv1.ListRequest{Ref: ref, FieldSelector: "spec.foo=1"})
	require.ErrorContains(t, err, `"spec.foo" is not a known field selector`)
}

func TestScale(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	one := int32(1)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d", Namespace: "default"}, Spec: appsv1.DeploymentSpec{
		Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: pod("x").Spec},
	}}
	require.NoError(t, cl.Create(ctx, d))
	require.Equal(t, int64(1), d.Generation)
	d.Status.Replicas = 7
	require.NoError(t, cl.UpdateStatus(ctx, d))
	require.Equal(t, int32(7), d.Status.Replicas)
	require.Equal(t, int64(1), d.Generation)
	rpc := apiv1.NewResourceServiceClient(c.Conn(apitest.Admin))
	_, err := rpc.Patch(ctx, &apiv1.PatchRequest{Ref: &apiv1.ObjectRef{ApiVersion: "apps/v1", Kind: "Deployment", Namespace: "default", Name: "d", Subresource: "scale"},
		Type: apiv1.PatchType_PATCH_TYPE_MERGE, Patch: []byte(`{"spec":{"replicas":5}}`)})
	require.NoError(t, err)
	require.NoError(t, cl.Get(ctx, d, "default", "d"))
	require.Equal(t, int32(5), *d.Spec.Replicas)
	require.Equal(t, int64(2), d.Generation)
}
