package admission_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/api/apitest"
)

func newPod(name string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	if change != nil {
		change(p)
	}
	return p
}

func TestPodsGetTheirAccountsToken(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	p := newPod("p", nil)
	require.NoError(t, cl.Create(ctx, p))
	require.Equal(t, "default", p.Spec.ServiceAccountName)
	require.Len(t, p.Spec.Volumes, 1)
	require.Regexp(t, `^kube-api-access-[a-z0-9]{5}$`, p.Spec.Volumes[0].Name)
	sources := p.Spec.Volumes[0].Projected.Sources
	require.Equal(t, int64(3607), *sources[0].ServiceAccountToken.ExpirationSeconds)
	require.Equal(t, "kube-root-ca.crt", sources[1].ConfigMap.Name)
	require.Equal(t, "metadata.namespace", sources[2].DownwardAPI.Items[0].FieldRef.FieldPath)
	require.Equal(t, "/var/run/secrets/kubernetes.io/serviceaccount", p.Spec.Containers[0].VolumeMounts[0].MountPath)

	no := false
	p = newPod("without", func(p *corev1.Pod) { p.Spec.AutomountServiceAccountToken = &no })
	require.NoError(t, cl.Create(ctx, p))
	require.Empty(t, p.Spec.Volumes)
	require.NoError(t, cl.Create(ctx, &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: "quiet", Namespace: "default"}, AutomountServiceAccountToken: &no,
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}},
	}))
	p = newPod("quiet", func(p *corev1.Pod) { p.Spec.ServiceAccountName = "quiet" })
	require.NoError(t, cl.Create(ctx, p))
	require.Empty(t, p.Spec.Volumes)
	require.Equal(t, "registry", p.Spec.ImagePullSecrets[0].Name)

	err := cl.Create(ctx, newPod("lost", func(p *corev1.Pod) { p.Spec.ServiceAccountName = "nobody" }))
	require.EqualError(t, err, `pods "lost" is forbidden: error looking up service account default/nobody: serviceaccount "nobody" not found`)
}

func TestPriorities(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	p := newPod("plain", nil)
	require.NoError(t, cl.Create(ctx, p))
	require.Equal(t, int32(0), *p.Spec.Priority)
	p = newPod("critical", func(p *corev1.Pod) { p.Spec.PriorityClassName = "system-node-critical" })
	require.NoError(t, cl.Create(ctx, p))
	require.Equal(t, int32(2000001000), *p.Spec.Priority)
	err := cl.Create(ctx, newPod("lost", func(p *corev1.Pod) { p.Spec.PriorityClassName = "gold" }))
	require.EqualError(t, err, `pods "lost" is forbidden: no PriorityClass with name gold was found`)
}

func TestNewNodesAreTainted(t *testing.T) {
	c := apitest.Start(t)
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	require.NoError(t, c.Client(apitest.Admin).Create(t.Context(), n))
	require.Equal(t, []corev1.Taint{{Key: "node.kubernetes.io/not-ready", Effect: corev1.TaintEffectNoSchedule}}, n.Spec.Taints)
}

func TestPodsWaitForTheirNamespacesAccount(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	require.NoError(t, cl.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "new"}}))
	p := newPod("p", nil)
	p.Namespace = "new"
	created := make(chan error)
	go func() { created <- cl.Create(ctx, p) }()
	require.NoError(t, cl.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: "new"}}))
	require.NoError(t, <-created)
	require.Equal(t, "default", p.Spec.ServiceAccountName)
}

func TestAccountsMayLimitTheirPodsSecrets(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	require.NoError(t, cl.Create(ctx, &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: "careful", Namespace: "default", Annotations: map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}},
		Secrets:    []corev1.ObjectReference{{Name: "mine"}},
	}))
	with := func(change func(*corev1.Pod)) *corev1.Pod {
		return newPod("p", func(p *corev1.Pod) { p.Spec.ServiceAccountName = "careful"; change(p) })
	}
	const refused = `is not allowed because service account careful does not reference that secret`
	inVolume := func(secret string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}}
		}
	}
	require.EqualError(t, cl.Create(ctx, with(inVolume("theirs"))), `pods "p" is forbidden: volume with secret.secretName="theirs" `+refused)
	require.EqualError(t, cl.Create(ctx, with(func(p *corev1.Pod) {
		p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "theirs"}}}}
	})), `pods "p" is forbidden: container c with envFrom referencing secret.secretName="theirs" `+refused)
	require.EqualError(t, cl.Create(ctx, with(func(p *corev1.Pod) { p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "theirs"}} })),
		`pods "p" is forbidden: imagePullSecrets[0].name="theirs" is not allowed because service account careful does not reference that imagePullSecret`)
	require.NoError(t, cl.Create(ctx, with(inVolume("mine"))))
}

func TestPodsDoNotOutgrowTheirNode(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	require.NoError(t, cl.Create(ctx, node))
	node.Status.Allocatable = amounts("cpu", "1", "memory", "1Gi")
	require.NoError(t, cl.UpdateStatus(ctx, node))
	p := newPod("p", func(p *corev1.Pod) {
		p.Spec.NodeName = "n"
		using(amounts("cpu", "100m"), amounts("cpu", "4"))(p)
	})
	require.NoError(t, cl.Create(ctx, p))
	p.Spec.Containers[0].Resources.Requests = amounts("cpu", "2")
	require.EqualError(t, cl.UpdateSubresource(ctx, p.DeepCopy(), "resize"),
		`pods "p" is forbidden: node didn't have enough allocatable resources: cpu, requested: 2000, allocatable: 1000`)
	p.Spec.Containers[0].Resources.Requests = amounts("cpu", "1")
	require.NoError(t, cl.UpdateSubresource(ctx, p, "resize"))
}
