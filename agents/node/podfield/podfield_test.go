package podfield

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestField(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"b": `say "hi"`, "a": "1"}, Annotations: map[string]string{"example.org/x": "y"}}}
	facts := &Facts{PodIPs: []string{"10.0.0.2", "fd00::2"}, HostIPs: []string{"192.0.2.1"}}
	for path, want := range map[string]string{
		"metadata.name": "p", "metadata.labels['a']": "1", "metadata.annotations['example.org/x']": "y", "metadata.labels['none']": "",
		"metadata.labels": "a=\"1\"\nb=\"say \\\"hi\\\"\"", "status.podIP": "10.0.0.2", "status.podIPs": "10.0.0.2,fd00::2", "status.hostIP": "192.0.2.1",
	} {
		got, err := Field(pod, facts, path)
		require.NoError(t, err)
		require.Equal(t, want, got, path)
	}
	_, err := Field(pod, facts, "spec.containers")
	require.ErrorContains(t, err, "unsupported fieldPath: spec.containers")
}

func TestResource(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: list("250m", "64Mi")}}}}}
	facts := &Facts{Allocatable: list("4", "8Gi")}
	for _, c := range []struct{ resource, divisor, want string }{
		{"requests.cpu", "", "1"}, {"requests.cpu", "1m", "250"}, {"requests.memory", "1Mi", "64"}, {"limits.cpu", "", "4"}, {"limits.memory", "1Gi", "8"},
	} {
		ref := &corev1.ResourceFieldSelector{Resource: c.resource}
		if c.divisor != "" {
			ref.Divisor = resource.MustParse(c.divisor)
		}
		got, err := Resource(pod, facts, "c", ref)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%+v", c)
	}
}
