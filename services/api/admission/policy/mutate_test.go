package policy_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mutation makes a MutatingAdmissionPolicy and its binding.
func (w *world) mutation(name, resource, spec string) {
	w.Helper()
	w.create(`
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: ` + name + `}
spec:
  matchConstraints: {resourceRules: [{apiGroups: ["*"], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: [` + resource + `]}]}
` + spec)
	w.create(`{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicyBinding, metadata: {name: ` + name + `-b}, spec: {policyName: ` + name + `}}`)
}

func TestMutations(t *testing.T) {
	w := start(t)
	w.mutation("m", "deployments", `
  reinvocationPolicy: Never
  variables: [{name: team, expression: "object.metadata.namespace + '-team'"}]
  matchConditions: [{name: small, expression: "object.spec.replicas < 5"}]
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: >
        Object{metadata: Object.metadata{labels: {"team": variables.team}}, spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
          containers: [Object.spec.template.spec.containers{name: "sidecar", image: "s"}]}}}}
  - patchType: JSONPatch
    jsonPatch:
      expression: >
        [JSONPatch{op: "add", path: "/metadata/annotations", value: {"seen": object.metadata.labels["team"]}},
         JSONPatch{op: "replace", path: "/spec/replicas", value: 4}]
`)
	labels := map[string]string{"a": "b"}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d", Namespace: "default"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
	}}
	require.NoError(t, w.cl.Create(t.Context(), d))
	require.Equal(t, "default-team", d.Labels["team"])
	require.Equal(t, "default-team", d.Annotations["seen"], "each mutation sees what the one before has made")
	require.Equal(t, int32(4), *d.Spec.Replicas)
	require.Len(t, d.Spec.Template.Spec.Containers, 2, "lists merge by their keys")
	sidecar := d.Spec.Template.Spec.Containers[1]
	require.Equal(t, corev1.PullAlways, sidecar.ImagePullPolicy, "what is added gets its defaults")
	require.Equal(t, int64(1), d.Generation)
	replicas := int32(3)
	d.Spec.Replicas = &replicas
	require.NoError(t, w.cl.Update(t.Context(), d))
	require.Equal(t, int32(4), *d.Spec.Replicas)
	require.Equal(t, int64(1), d.Generation, "nothing has changed in the end")
	replicas = 7
	d.Spec.Replicas = &replicas
	require.NoError(t, w.cl.Update(t.Context(), d))
	require.Equal(t, int32(7), *d.Spec.Replicas, "the conditions are not met")
}

func TestMutationsRunAgain(t *testing.T) {
	w := start(t)
	count := `
  reinvocationPolicy: %
  mutations:
  - patchType: JSONPatch
    jsonPatch: {expression: '[JSONPatch{op: "add", path: "/data/!", value: ("!" in object.data ? object.data["!"] : "") + "x"}]'}
`
	w.mutation("a", "configmaps", strings.NewReplacer("%", "IfNeeded", "!", "a").Replace(count))
	w.mutation("b", "configmaps", strings.NewReplacer("%", "Never", "!", "b").Replace(count))
	cm := configMap("x", map[string]string{"k": "v"})
	require.NoError(t, w.cl.Create(t.Context(), cm))
	require.Equal(t, map[string]string{"k": "v", "a": "xx", "b": "x"}, cm.Data)
}

func TestMutationsInAnotherVersion(t *testing.T) {
	w := start(t)
	w.create(`
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: m}
spec:
  reinvocationPolicy: Never
  matchConstraints: {resourceRules: [{apiGroups: [autoscaling], apiVersions: [v1], operations: [CREATE], resources: [horizontalpodautoscalers]}]}
  mutations:
  - {patchType: ApplyConfiguration, applyConfiguration: {expression: "Object{spec: Object.spec{targetCPUUtilizationPercentage: 42}}"}}
`)
	w.create(`{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicyBinding, metadata: {name: b}, spec: {policyName: m}}`)
	hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "h", Namespace: "default"}, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		MaxReplicas: 3, ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "d"},
	}}
	require.NoError(t, w.cl.Create(t.Context(), hpa))
	require.Equal(t, int32(42), *hpa.Spec.Metrics[0].Resource.Target.AverageUtilization)
}

func TestMutationsThatFail(t *testing.T) {
	for expression, want := range map[string]string{
		`Object{data: Object.data{k: 1}}`: `policy 'm' with binding 'm-b' denied request: `,
		`Object{nonsense: "x"}`:           `policy 'm' with binding 'm-b' denied request: `,
		`Object{data: object.nothing}`:    `no such key: nothing`,
		`Object{metadata: Object.metadata{ownerReferences: [Object.metadata.ownerReferences{uid: "x"}]}}`: "may not mutate atomic",
	} {
		w := start(t)
		w.mutation("m", "configmaps", `
  reinvocationPolicy: Never
  mutations:
  - {patchType: ApplyConfiguration, applyConfiguration: {expression: '`+expression+`'}}
`)
		err := w.try("x", map[string]string{"k": "v"})
		require.ErrorContains(t, err, want, expression)
		require.True(t, apierrors.IsInvalid(err), expression)
	}
}
