package gateway_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func TestKubectlAppliesOnTheServer(t *testing.T) {
	k := cluster(t).kubectl(t)
	const apply = "apply --server-side -f -"
	require.Contains(t, k.run(apply, deployment), "deployment.apps/my-app serverside-applied\nservice/my-service serverside-applied")
	before := k.run("get deploy,svc -o jsonpath={.items[*].metadata.resourceVersion}")
	k.run(apply, deployment)
	require.Equal(t, before, k.run("get deploy,svc -o jsonpath={.items[*].metadata.resourceVersion}"), "the same again is no write")
	require.NotContains(t, k.run("get deploy my-app -o yaml"), "managedFields")
	require.Contains(t, k.run("get deploy my-app -o yaml --show-managed-fields"), "manager: kubectl\n    operation: Apply")

	// Another manager wants other values: refused, then forced.
	four := strings.Replace(deployment, "replicas: 3", "replicas: 4", 1)
	refused := k.fails(apply+" --field-manager=other", four)
	require.Contains(t, refused, `Apply failed with 1 conflict: conflict with "kubectl": .spec.replicas`)
	require.Contains(t, refused, "--force-conflicts")
	k.run(apply+" --field-manager=other --force-conflicts", four)
	require.Equal(t, "4", k.run("get deploy my-app -o jsonpath={.spec.replicas}"))
	require.Contains(t, k.fails(apply, deployment), `conflict with "other": .spec.replicas`)

	require.Contains(t, k.fails("diff --server-side --force-conflicts -f -", deployment), "+  replicas: 3")
	require.Contains(t, k.run(apply+" --force-conflicts --dry-run=server", deployment), "serverside-applied (server dry run)")
	require.Equal(t, "4", k.run("get deploy my-app -o jsonpath={.spec.replicas}"))

	// kubectl scale and edit take fields over.
	k.run("scale deploy my-app --replicas=5")
	require.Contains(t, k.fails(apply+" --field-manager=other", four), `conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas`)
	require.Contains(t, k.fails(apply, strings.Replace(deployment, "replicas", "replicaz", 1)), ".spec.replicaz: field not declared in schema")
}

func TestKubectlMigratesToServerSideApply(t *testing.T) {
	k := cluster(t).kubectl(t)
	const settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata:\n  a: one\n  b: two\n"
	k.run("apply -f -", settings)
	require.Contains(t, k.run("get cm settings -o yaml --show-managed-fields"), "manager: kubectl-client-side-apply\n    operation: Update")
	require.Contains(t, k.fails("apply --server-side --field-manager=other -f -", strings.Replace(settings, "one", "1st", 1)), `conflict with "kubectl-client-side-apply" using v1: .data.a`)
	k.run("apply --server-side -f -", strings.Replace(settings, "one", "1st", 1))
	require.Equal(t, `{"a":"1st","b":"two"}`, k.run("get cm settings -o jsonpath={.data}"))
	require.NotContains(t, k.run("get cm settings -o yaml --show-managed-fields"), "kubectl-client-side-apply", "kubectl moves its own record")
	k.run("apply --server-side -f -", strings.Replace(settings, "  b: two\n", "", 1))
	require.Equal(t, `{"a":"one"}`, k.run("get cm settings -o jsonpath={.data}"), "what is no longer applied goes")
	k.run("apply -f -", settings)
	require.Equal(t, `{"a":"one","b":"two"}`, k.run("get cm settings -o jsonpath={.data}"), "and back")
}

func TestClientGoApplies(t *testing.T) {
	w := cluster(t)
	config, err := clientcmd.BuildConfigFromFlags("", w.kubeconfig(t))
	require.NoError(t, err)
	config.UserAgent = "my-operator/v1.0 (linux)"
	cs, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	maps, options := cs.CoreV1().ConfigMaps("default"), metav1.ApplyOptions{FieldManager: "operator"}
	made, err := maps.Apply(t.Context(), coreac.ConfigMap("c", "default").WithData(map[string]string{"a": "1"}), options)
	require.NoError(t, err)
	made.Data["a"] = "2"
	_, err = maps.Update(t.Context(), made, metav1.UpdateOptions{})
	require.NoError(t, err)
	_, err = maps.Apply(t.Context(), coreac.ConfigMap("c", "default").WithData(map[string]string{"a": "1"}), options)
	require.True(t, apierrors.IsConflict(err), "%v", err)
	require.ErrorContains(t, err, `conflict with "my-operator" using v1`, "who gives no name is known by his User-Agent")
	extracted, err := coreac.ExtractConfigMap(made, "operator")
	require.NoError(t, err)
	require.Equal(t, "2", extracted.Data["a"])

	_, err = cs.AppsV1().Deployments("default").Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "d"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	d, err := cs.AppsV1().Deployments("default").ApplyStatus(t.Context(), appsac.Deployment("d", "default").WithStatus(appsac.DeploymentStatus().WithReplicas(1).WithReadyReplicas(1)), options)
	require.NoError(t, err)
	require.EqualValues(t, 1, d.Status.ReadyReplicas)
}

// TestKubectlAppliesTwice: what defaults, conversions and other writers' fields make of an object is no difference.
func TestKubectlAppliesTwice(t *testing.T) {
	k := cluster(t).kubectl(t)
	versions := func() []string {
		const columns = " --no-headers -o custom-columns=K:.kind,N:.metadata.name,V:.metadata.resourceVersion,G:.metadata.generation"
		out := k.run("get secret,sa,pvc,sts,ds,job,cronjob,ingress,netpol,hpa,pdb,pod,svc,limits,quota" + columns)
		return strings.Split(out+k.run("get sc,pv,ns,clusterrole,clusterrolebinding"+columns), "\n")
	}
	k.run("apply --server-side -f testdata/apply.yaml")
	before := versions()
	k.run("apply --server-side -f testdata/apply.yaml")
	require.Equal(t, before, versions())
	require.Empty(t, k.run("diff --server-side -f testdata/apply.yaml"))
	k.run("apply --server-side --field-manager=other --force-conflicts -f testdata/apply.yaml")
	require.Equal(t, "kubectl other", k.run("get sts st -o jsonpath={.metadata.managedFields[*].manager} --show-managed-fields"))
	k.run("delete -f testdata/apply.yaml --wait=false")
}
