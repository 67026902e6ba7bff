package server_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/services/api/codec"
)

// blamesClient fails when a request that only its client can have spoilt ends as the server's own fault. A panic is one,
// too: the interceptor answers it so.
func blamesClient(t *testing.T, err error) {
	t.Helper()
	err = apierr.FromGRPC(err)
	if err != nil && strings.HasPrefix(err.Error(), "failed to create typed patch object") {
		return // Kubernetes answers applied fields that it does not know with code 500, and that text
	}
	if err != nil && (apierrors.IsInternalError(err) || apierrors.ReasonForError(err) == metav1.StatusReasonUnknown) {
		t.Fatalf("bad input is answered as an error of the server: %v", err)
	}
}

var fuzzedKinds = []struct{ apiVersion, kind string }{
	{"v1", "Pod"}, {"v1", "Service"}, {"apps/v1", "Deployment"}, {"batch/v1", "CronJob"}, {"networking.k8s.io/v1", "NetworkPolicy"},
	{"apiextensions.k8s.io/v1", "CustomResourceDefinition"}, {"rbac.authorization.k8s.io/v1", "ClusterRole"}, {"autoscaling/v2", "HorizontalPodAutoscaler"},
	{"admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"}, {"v1", "ResourceQuota"},
}

// FuzzCreate creates objects out of any bytes, JSON and protobuf.
func FuzzCreate(f *testing.F) {
	w := newWorld(f)
	f.Add(uint8(0), false, []byte(`{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}]}]}}`))
	f.Add(uint8(1), false, []byte(`{"metadata":{"name":"a"},"spec":{"ports":[{"port":80,"targetPort":"http"}],"selector":{"a":"b"}}}`))
	f.Add(uint8(2), false, []byte(`{"metadata":{"name":"a"},"spec":{"replicas":1e99,"selector":{"matchLabels":{"a":"b"}},"template":null}}`))
	f.Add(uint8(3), false, []byte(`{"metadata":{"name":"a"},"spec":{"schedule":"*/0 * * * *","jobTemplate":{"spec":{"template":{}}}}}`))
	f.Add(uint8(4), false, []byte(`{"metadata":{"name":"a"},"spec":{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"::/0"}}]}]}}`))
	f.Add(uint8(5), false, []byte(`{"metadata":{"name":"as.x.io"},"spec":{"group":"x.io","names":{"plural":"as","kind":"A"},"scope":"Namespaced","versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-validations":[{"rule":"self.a > 1"}],"properties":{"a":{"type":"integer","pattern":"("}}}}}]}}`))
	f.Add(uint8(8), false, []byte(`{"metadata":{"name":"p"},"spec":{"validations":[{"expression":"object.spec.x.y.all(z, z == 1)"}],"matchConstraints":{"resourceRules":[{"apiGroups":["*"],"apiVersions":["*"],"operations":["*"],"resources":["*"]}]}}}`))
	f.Add(uint8(0), false, []byte(strings.Repeat(`{"a":`, 20_000)))
	pod, err := codec.Marshal(newPod("p"))
	require.NoError(f, err)
	f.Add(uint8(0), true, pod)
	f.Fuzz(func(t *testing.T, kind uint8, protobuf bool, body []byte) {
		k := fuzzedKinds[int(kind)%len(fuzzedKinds)]
		ref := &apiv1.ObjectRef{ApiVersion: k.apiVersion, Kind: k.kind, Namespace: "default"}
		if strings.Contains(k.kind, "Cluster") || strings.HasPrefix(k.kind, "Custom") || strings.HasPrefix(k.kind, "Validating") {
			ref.Namespace = ""
		}
		env := jsonObject(string(body))
		if protobuf {
			env = &apiv1.Object{ApiVersion: k.apiVersion, Kind: k.kind, Encoding: apiv1.Encoding_ENCODING_PROTOBUF, Data: body}
		}
		_, err := w.rpc.Create(w.ctx, &apiv1.CreateRequest{Ref: ref, Object: env, As: inJSON(apiv1.Form_FORM_UNSPECIFIED), Options: &apiv1.WriteOptions{DryRun: true}})
		blamesClient(t, err)
	})
}

// FuzzPatch patches a Deployment by every kind of patch.
func FuzzPatch(f *testing.F) {
	w := newWorld(f)
	labels := map[string]string{"a": "b"}
	d := &appsv1.Deployment{ObjectMeta: named("d"), Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "c", Image: "i", Env: []corev1.EnvVar{{Name: "E", Value: "v"}}, Ports: []corev1.ContainerPort{{ContainerPort: 80}},
			LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("x")}}},
		}}}},
	}}
	require.NoError(f, w.Create(w.ctx, d))
	for patchType, patches := range map[apiv1.PatchType][]string{
		apiv1.PatchType_PATCH_TYPE_JSON: {
			`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"j"}]`, `[{"op":"move","from":"/spec","path":"/spec/template"}]`,
			`[{"op":"copy","from":"","path":"/metadata/annotations/x"}]`, `[{"op":"test","path":"/a~1b~0/-","value":null}]`, `[{"op":"remove","path":""}]`, `[null]`,
		},
		apiv1.PatchType_PATCH_TYPE_MERGE: {`{"spec":null}`, `{"metadata":{"labels":{"a":null}}}`, `{"spec":{"replicas":"3"}}`},
		apiv1.PatchType_PATCH_TYPE_STRATEGIC_MERGE: {
			`{"spec":{"template":{"spec":{"containers":[{"name":"c","$patch":"delete"}]}}}}`, `{"spec":{"$retainKeys":["replicas"]}}`,
			`{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"x"}],"containers":[{}]}}}}`, `{"$patch":"replace"}`,
			`{"spec":{"template":{"spec":{"containers":[{"name":"c","$deleteFromPrimitiveList/args":["a"]}]}}}}`,
		},
		apiv1.PatchType_PATCH_TYPE_APPLY: {
			"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {replicas: 2}\n",
			`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","managedFields":[{"manager":"m","fieldsV1":{"k:{}":{}}}]}}`, "- a", "&a [*a]",
		},
	} {
		for _, p := range patches {
			f.Add(int32(patchType), []byte(p))
		}
	}
	f.Fuzz(func(t *testing.T, patchType int32, patch []byte) {
		_, err := w.rpc.Patch(w.ctx, &apiv1.PatchRequest{
			Ref: &apiv1.ObjectRef{ApiVersion: "apps/v1", Kind: "Deployment", Namespace: "default", Name: "d"}, Type: apiv1.PatchType(patchType % 5), Patch: patch,
			As: inJSON(apiv1.Form_FORM_UNSPECIFIED), Options: &apiv1.WriteOptions{DryRun: true, FieldManager: "fuzz"},
		})
		blamesClient(t, err)
	})
}

// FuzzQuery lists with any selectors, continue token and resourceVersion.
func FuzzQuery(f *testing.F) {
	w := newWorld(f)
	require.NoError(f, w.Create(w.ctx, newPod("p")))
	f.Add("a in (b,c),!d", "status.phase!=Running,spec.nodeName=", "", "", int64(1))
	f.Add("a=b,=", "metadata.name=p\\", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTF9", "0", int64(-1))
	f.Add("x/y/z notin ()", "spec.unknown=1", "!", "99999999999999999999", int64(0))
	f.Fuzz(func(t *testing.T, label, field, token, version string, limit int64) {
		_, err := w.rpc.List(w.ctx, &apiv1.ListRequest{
			Ref: refTo("Pod", "", ""), LabelSelector: label, FieldSelector: field, Continue: token,
			ResourceVersion: version, Limit: limit, As: inJSON(apiv1.Form_FORM_UNSPECIFIED),
		})
		blamesClient(t, err)
	})
}
