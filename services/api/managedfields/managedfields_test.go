package managedfields_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/managedfields"
	"karve.dev/karve/services/api/registry"
)

func kind(t testing.TB, name string) *registry.Kind {
	for _, k := range registry.All() {
		if k.Kind == name {
			return k
		}
	}
	t.Fatalf("no kind %s", name)
	return nil
}

// world is one object and those who write it.
type world struct {
	t       testing.TB
	tracker *managedfields.Tracker
	kind    *registry.Kind
	live    registry.Object
}

func newWorld(t testing.TB, kindName string) *world {
	k := kind(t, kindName)
	return &world{t: t, tracker: &managedfields.Tracker{}, kind: k, live: k.New()}
}

func (w *world) write(manager, subresource string) managedfields.Write {
	return managedfields.Write{Kind: w.kind, Manager: manager, Subresource: subresource, Starts: true}
}

// settled makes what was written the live object, as the server does.
func (w *world) settled(obj registry.Object) {
	require.Equal(w.t, schema.GroupVersionKind{}, obj.GetObjectKind().GroupVersionKind(), "objects inside the API carry no kind")
	obj.SetUID("uid")
	w.live = obj
}

func (w *world) create(manager, body string) {
	obj := w.kind.New()
	require.NoError(w.t, json.Unmarshal([]byte(body), obj))
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	w.kind.Default(obj)
	w.tracker.Created(w.write(manager, ""), obj)
	w.settled(obj)
}

func (w *world) update(manager, subresource string, change func(obj registry.Object)) {
	obj := w.live.DeepCopyObject().(registry.Object)
	change(obj)
	w.tracker.Updated(w.write(manager, subresource), obj, w.live)
	w.settled(obj)
}

func (w *world) tryApply(manager, subresource, patch string, force bool) (registry.Object, error) {
	p, found, err := managedfields.ParsePatch([]byte(patch))
	require.NoError(w.t, err)
	require.Empty(w.t, found)
	return w.tracker.Apply(w.write(manager, subresource), w.live.DeepCopyObject().(registry.Object), p, force)
}

func (w *world) apply(manager, patch string) {
	obj, err := w.tryApply(manager, "", patch, false)
	require.NoError(w.t, err)
	w.settled(obj)
}

// owns returns what a manager owns of the live object, by "manager operation subresource".
func (w *world) owners() map[string]string {
	out := map[string]string{}
	for _, e := range w.live.GetManagedFields() {
		name := e.Manager + " " + string(e.Operation)
		if e.Subresource != "" {
			name += " " + e.Subresource
		}
		require.NotNil(w.t, e.Time)
		out[name] = string(e.FieldsV1.GetRawBytes())
	}
	return out
}

const settings = `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}, "data": {%s}}`

func configMap(data string) string { return fmt.Sprintf(settings, data) }

func TestApplyMergesAndForgets(t *testing.T) {
	w := newWorld(t, "ConfigMap")
	w.apply("one", configMap(`"a": "1", "b": "2"`))
	w.apply("two", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {c: \"3\"}\n")
	require.Equal(t, map[string]string{"a": "1", "b": "2", "c": "3"}, w.live.(*corev1.ConfigMap).Data)
	w.apply("one", configMap(`"a": "1"`))
	require.Equal(t, map[string]string{"a": "1", "c": "3"}, w.live.(*corev1.ConfigMap).Data, "what is no longer applied goes")
	require.Equal(t, map[string]string{"one Apply": `{"f:data":{"f:a":{}}}`, "two Apply": `{"f:data":{"f:c":{}}}`}, w.owners())

	before := w.live
	w.apply("one", configMap(`"a": "1"`))
	require.Equal(t, before, w.live, "an apply that changes nothing changes nothing")
}

func TestApplyConflicts(t *testing.T) {
	w := newWorld(t, "ConfigMap")
	w.apply("one", configMap(`"a": "1", "b": "2"`))
	_, err := w.tryApply("two", "", configMap(`"a": "9"`), false)
	require.True(t, apierrors.IsConflict(err), "%v", err)
	require.EqualError(t, err, `Apply failed with 1 conflict: conflict with "one": .data.a`)
	require.Equal(t, []metav1.StatusCause{{Type: metav1.CauseTypeFieldManagerConflict, Message: `conflict with "one"`, Field: ".data.a"}},
		err.(apierrors.APIStatus).Status().Details.Causes)

	obj, err := w.tryApply("two", "", configMap(`"a": "9"`), true)
	require.NoError(t, err)
	w.settled(obj)
	require.Equal(t, map[string]string{"one Apply": `{"f:data":{"f:b":{}}}`, "two Apply": `{"f:data":{"f:a":{}}}`}, w.owners())
	w.apply("one", configMap(`"a": "9", "b": "2"`))
	require.Equal(t, `{"f:data":{"f:a":{},"f:b":{}}}`, w.owners()["one Apply"], "the same value is shared")
}

func TestUpdatesTakeOver(t *testing.T) {
	w := newWorld(t, "ConfigMap")
	w.apply("one", configMap(`"a": "1", "b": "2"`))
	w.update("editor", "", func(o registry.Object) { o.(*corev1.ConfigMap).Data["a"] = "9" })
	require.Equal(t, map[string]string{"one Apply": `{"f:data":{"f:b":{}}}`, "editor Update": `{"f:data":{"f:a":{}}}`}, w.owners())
	_, err := w.tryApply("one", "", configMap(`"a": "1", "b": "2"`), false)
	require.ErrorContains(t, err, `conflict with "editor" using v1`)
	w.update("", "", func(o registry.Object) { o.SetLabels(map[string]string{"x": "y"}) })
	require.Contains(t, w.owners(), "unknown Update")
}

func TestObjectsWithoutRecord(t *testing.T) {
	w := newWorld(t, "ConfigMap")
	obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "default"}, Data: map[string]string{"a": "1"}}
	w.tracker.Created(managedfields.Write{Kind: w.kind, Manager: "controller"}, obj)
	w.settled(obj)
	w.update("editor", "", func(o registry.Object) { o.(*corev1.ConfigMap).Data["b"] = "2" })
	require.Empty(t, w.live.GetManagedFields(), "nothing is recorded of what nobody applies")
	w.apply("one", configMap(`"c": "3"`))
	require.Equal(t, map[string]string{"one Apply": `{"f:data":{"f:c":{}}}`, "before-first-apply Update": `{"f:data":{".":{},"f:a":{},"f:b":{}}}`}, w.owners())
}

func TestListsMergeByKey(t *testing.T) {
	const base = `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "default"}, "spec": {%s
		"selector": {"matchLabels": {"app": "d"}}, "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [%s]}}}}`
	w := newWorld(t, "Deployment")
	w.apply("kubectl", fmt.Sprintf(base, `"replicas": 3,`, `{"name": "app", "image": "app:v1", "ports": [{"containerPort": 80}]}`))
	w.apply("sidecars", `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": [{"name": "log", "image": "log:v1"}]}}}}`)
	w.apply("kubectl", fmt.Sprintf(base, "", `{"name": "app", "image": "app:v2"}`))
	d := w.live.(*appsv1.Deployment)
	require.Len(t, d.Spec.Template.Spec.Containers, 2)
	require.Equal(t, "app:v2", d.Spec.Template.Spec.Containers[0].Image)
	require.Empty(t, d.Spec.Template.Spec.Containers[0].Ports)
	require.EqualValues(t, 1, *d.Spec.Replicas, "a field that nobody wants any more gets its default again")
}

func TestPartsOfAnObject(t *testing.T) {
	const replicas = `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 3}, "status": {"replicas": 7}}`
	w := newWorld(t, "Deployment")
	w.apply("kubectl", replicas)
	require.Equal(t, map[string]string{"kubectl Apply": `{"f:spec":{"f:replicas":{}}}`}, w.owners(), "the status is not the author's")
	w.update("controller", "status", func(o registry.Object) { o.(*appsv1.Deployment).Status.ReadyReplicas = 2 })
	w.update("kubectl", "scale", func(o registry.Object) { *o.(*appsv1.Deployment).Spec.Replicas = 5 })
	require.Equal(t, map[string]string{
		"controller Update status": `{"f:status":{"f:readyReplicas":{}}}`, "kubectl Update scale": `{"f:spec":{"f:replicas":{}}}`,
	}, w.owners())
	_, err := w.tryApply("kubectl", "", replicas, false)
	require.ErrorContains(t, err, `conflict with "kubectl" with subresource "scale" using apps/v1`)

	scale, _, err := managedfields.ParsePatch([]byte(`{"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 6}}`))
	require.NoError(t, err)
	scale, err = scale.OfScaled(w.kind)
	require.NoError(t, err)
	obj, err := w.tracker.Apply(w.write("hpa", "scale"), w.live.DeepCopyObject().(registry.Object), scale, true)
	require.NoError(t, err)
	w.settled(obj)
	require.EqualValues(t, 6, *w.live.(*appsv1.Deployment).Spec.Replicas)
	require.Equal(t, `{"f:spec":{"f:replicas":{}}}`, w.owners()["hpa Apply scale"])
}

func TestMigrationFromClientSideApply(t *testing.T) {
	const last = `,"annotations":{"kubectl.kubernetes.io/last-applied-configuration":%q}`
	body := func(annotation, value string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"default"%s},"data":{"a":%q}}`, annotation, value)
	}
	w := newWorld(t, "ConfigMap")
	w.create("kubectl-client-side-apply", body(fmt.Sprintf(last, body("", "1")), "1"))
	require.Contains(t, w.owners()["kubectl-client-side-apply Update"], `"f:data":{".":{},"f:a":{}}`)
	_, err := w.tryApply("other", "", body("", "2"), false)
	require.ErrorContains(t, err, `conflict with "kubectl-client-side-apply" using v1`)
	w.apply("kubectl", body("", "2"))
	require.Equal(t, "2", w.live.(*corev1.ConfigMap).Data["a"], "kubectl may change what it applied itself")
	require.Contains(t, w.live.GetAnnotations()["kubectl.kubernetes.io/last-applied-configuration"], `"a":"2"`)
}

func TestClientsMayChangeTheRecord(t *testing.T) {
	w := newWorld(t, "ConfigMap")
	w.apply("one", configMap(`"a": "1"`))
	w.update("editor", "", func(o registry.Object) { o.SetManagedFields(nil) })
	require.Contains(t, w.owners(), "one Apply", "who does not know the record does not lose it")
	w.update("editor", "", func(o registry.Object) {
		fields := o.GetManagedFields()
		fields[0].Manager = "renamed"
		o.SetManagedFields(fields)
	})
	require.Equal(t, map[string]string{"renamed Apply": `{"f:data":{"f:a":{}}}`}, w.owners())
	w.update("editor", "", func(o registry.Object) { o.SetManagedFields([]metav1.ManagedFieldsEntry{{}}) })
	require.Empty(t, w.live.GetManagedFields(), "an empty entry resets the record")
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		patch string
		code  int32
		text  string
	}{
		"own record":     {`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","managedFields":[{"manager":"x"}]}}`, 400, "metadata.managedFields must be nil"},
		"other kind":     {`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"c"}}`, 400, "invalid object type: /v1, Kind=Secret"},
		"no kind":        {``, 400, "invalid object type"},
		"unknown field":  {`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"dat":{}}`, 500, ".dat: field not declared in schema"},
		"wrong type":     {`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":["x"]}}`, 500, "expected string"},
		"odd metadata":   {`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","labels":"x"}}`, 500, "expected map"},
		"metadata a map": {`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":["c"]}}`, 500, "expected string"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newWorld(t, "ConfigMap").tryApply("one", "", c.patch, false)
			var status apierrors.APIStatus
			require.ErrorAs(t, err, &status)
			require.Equal(t, c.code, status.Status().Code, "%v", err)
			require.ErrorContains(t, err, c.text)
		})
	}
	for _, bad := range []string{"a: [", "[1]", "just text", `{"metadata": 1}`, `{"metadata": []}`} {
		_, _, err := managedfields.ParsePatch([]byte(bad))
		require.True(t, apierrors.IsBadRequest(err), "%q: %v", bad, err)
	}
	_, found, err := managedfields.ParsePatch([]byte(`{"a": 1, "a": 2}`))
	require.NoError(t, err)
	require.Len(t, found, 1)
	_, found, err = managedfields.ParsePatch([]byte("a: 1\na: 2"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.ErrorContains(t, managedfields.Options("", false), "fieldManager: Required value: is required for apply patch")
	require.Equal(t, "kubectl", managedfields.ManagerOf("kubectl/v1.32.1 (linux/amd64)"))
}
