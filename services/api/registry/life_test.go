package registry_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"karve.dev/karve/services/api/registry"
)

func kindOf(t testing.TB, group, resource string) *registry.Kind {
	k, ok := registry.LookupResource(group, "v1", resource)
	require.True(t, ok)
	return k
}

func TestGenerationCountsChangesOfTheSpec(t *testing.T) {
	k := kindOf(t, "apps", "deployments")
	d := &appsv1.Deployment{Status: appsv1.DeploymentStatus{Replicas: 9}}
	k.Default(d)
	k.PrepareCreate(d)
	require.Equal(t, int64(1), d.Generation)
	require.Zero(t, d.Status, "an author writes no status")

	labelled := d.DeepCopy()
	labelled.Labels = map[string]string{"a": "b"}
	labelled.Status.Replicas = 9
	k.PrepareUpdate(labelled, d)
	require.Equal(t, int64(1), labelled.Generation)
	require.Zero(t, labelled.Status)

	scaled := d.DeepCopy()
	scaled.Spec.Replicas = ptr.To[int32](5)
	k.PrepareUpdate(scaled, d)
	require.Equal(t, int64(2), scaled.Generation)

	status := d.DeepCopy()
	status.Spec.Replicas, status.Status.Replicas = ptr.To[int32](7), 1
	k.PrepareStatus(status, d)
	require.Equal(t, d.Spec, status.Spec)
	require.Equal(t, int32(1), status.Status.Replicas)
}

func TestServiceUpdatesKeepWhatWasAllocated(t *testing.T) {
	k := kindOf(t, "", "services")
	old := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}}}
	k.Default(old)
	k.PrepareCreate(old)
	old.Spec.ClusterIP, old.Spec.ClusterIPs, old.Spec.Ports[0].NodePort = "10.96.0.9", []string{"10.96.0.9"}, 30080

	again := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}}}
	k.Default(again)
	k.PrepareUpdate(again, old)
	require.Equal(t, old.Spec, again.Spec)
	require.Empty(t, k.ValidateUpdate(again, old))

	inside := old.DeepCopy()
	inside.Spec.Type = corev1.ServiceTypeClusterIP
	k.Default(inside)
	k.PrepareUpdate(inside, old)
	require.Zero(t, inside.Spec.Ports[0].NodePort)
	require.Equal(t, "10.96.0.9", inside.Spec.ClusterIP)
	require.Empty(t, k.Validate(inside))

	alias := old.DeepCopy()
	alias.Spec.Type, alias.Spec.ExternalName = corev1.ServiceTypeExternalName, "a.example.com"
	k.Default(alias)
	k.PrepareUpdate(alias, old)
	require.Empty(t, alias.Spec.ClusterIP)
	require.Empty(t, k.Validate(alias))
	require.Empty(t, k.ValidateUpdate(alias, old))
}

func TestPodStatusIsWrittenAlone(t *testing.T) {
	k := kindOf(t, "", "pods")
	old := minimalPod()
	k.Default(old)
	k.PrepareCreate(old)
	old.Generation = 3

	p := old.DeepCopy()
	p.Spec.NodeName, p.Status.Phase, p.Status.QOSClass, p.Status.PodIP = "elsewhere", corev1.PodRunning, "", "10.244.0.3"
	now := metav1.Now()
	p.DeletionTimestamp = &now
	k.PrepareStatus(p, old)
	require.Empty(t, p.Spec.NodeName)
	require.Nil(t, p.DeletionTimestamp)
	require.Equal(t, corev1.PodQOSBestEffort, p.Status.QOSClass)
	require.Equal(t, []corev1.PodIP{{IP: "10.244.0.3"}}, p.Status.PodIPs)
	require.Empty(t, k.ValidateStatus(p, old))
}

func TestPodGracePeriod(t *testing.T) {
	k := kindOf(t, "", "pods")
	for name, c := range map[string]struct {
		node  string
		phase corev1.PodPhase
		own   int64
		asked *int64
		want  int64
	}{
		"the pod's own":      {"n", corev1.PodRunning, 30, nil, 30},
		"the caller's":       {"n", corev1.PodRunning, 30, ptr.To[int64](5), 5},
		"at once":            {"n", corev1.PodRunning, 30, ptr.To[int64](0), 0},
		"not scheduled":      {"", corev1.PodPending, 30, nil, 0},
		"already ended":      {"n", corev1.PodFailed, 30, ptr.To[int64](5), 0},
		"negative means one": {"n", corev1.PodRunning, -3, nil, 1},
	} {
		p := minimalPod()
		p.Spec.NodeName, p.Status.Phase, p.Spec.TerminationGracePeriodSeconds = c.node, c.phase, &c.own
		require.Equal(t, c.want, k.GracePeriod(p, c.asked), name)
	}
}

func TestEphemeralContainersAreOnlyAdded(t *testing.T) {
	k := kindOf(t, "", "pods")
	old := minimalPod()
	k.Default(old)
	k.PrepareCreate(old)
	sub := subresource(t, k, "ephemeralcontainers")
	p := old.DeepCopy()
	p.Spec.Containers[0].Image = "ignored"
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "look", Image: "tools"}}}
	sub.Prepare(p, old)
	require.Equal(t, "app:1", p.Spec.Containers[0].Image)
	require.Equal(t, int64(2), p.Generation)
	require.Empty(t, sub.Validate(p, old))

	gone := p.DeepCopy()
	gone.Spec.EphemeralContainers = nil
	sub.Prepare(gone, p)
	require.Len(t, sub.Validate(gone, p), 1)
}

func subresource(t *testing.T, k *registry.Kind, name string) registry.Subresource {
	for _, s := range k.Subresources {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("%s has no subresource %s", k.Kind, name)
	return registry.Subresource{}
}

func TestResizeChangesAmountsOnly(t *testing.T) {
	k := kindOf(t, "", "pods")
	sub := subresource(t, k, "resize")
	amounts := func(cpu string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}
	}
	old := minimalPod()
	old.Spec.Containers[0].Resources = amounts("100m")
	k.Default(old)
	k.PrepareCreate(old)
	for want, change := range map[string]func(*corev1.Pod){
		"": func(p *corev1.Pod) { p.Spec.Containers[0].Resources = amounts("200m") },
		"spec: Forbidden: only cpu and memory resources are mutable":                               func(p *corev1.Pod) { p.Spec.Containers[0].Image = "b" },
		"spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed":    func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = nil },
		"spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize": func(p *corev1.Pod) { p.Spec.Containers[0].Name = "b" },
		"spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing": func(p *corev1.Pod) {
			all := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi")}
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Limits: all, Requests: all}
		},
	} {
		p := old.DeepCopy()
		change(p)
		sub.Prepare(p, old)
		got := lines(sub.Validate(p, old))
		if want == "" {
			require.Empty(t, got)
			require.Equal(t, int64(2), p.Generation)
		} else {
			require.Contains(t, got, want)
		}
	}
}

func minimalPod() *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:1"}}}}
}

// BenchmarkPod is what the registry costs each created pod, and each row of a table.
func BenchmarkPod(b *testing.B) {
	k := kindOf(b, "", "pods")
	b.Run("create", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p := minimalPod()
			k.Default(p)
			k.PrepareCreate(p)
			if errs := k.Validate(p); len(errs) > 0 {
				b.Fatal(errs)
			}
		}
	})
	b.Run("status", func(b *testing.B) {
		old := minimalPod()
		k.Default(old)
		k.PrepareCreate(old)
		b.ReportAllocs()
		for b.Loop() {
			p := *old
			k.PrepareStatus(&p, old)
			k.ValidateStatus(&p, old)
		}
	})
	b.Run("fields", func(b *testing.B) {
		p := minimalPod()
		b.ReportAllocs()
		for b.Loop() {
			k.Fields(p)
		}
	})
}
