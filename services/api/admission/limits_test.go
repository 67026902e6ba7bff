package admission_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/api/apitest"
)

// amounts are resources, as "name", "amount", …
func amounts(pairs ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		list[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return list
}

func limitRange(name string, items ...corev1.LimitRangeItem) *corev1.LimitRange {
	return &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.LimitRangeSpec{Limits: items}}
}

func using(requests, limits corev1.ResourceList) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: requests, Limits: limits}
	}
}

func newClaim(name, size string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: amounts("storage", size)},
	}}
}

func TestLimitRangesCompleteContainers(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	require.NoError(t, cl.Create(ctx, limitRange("defaults", corev1.LimitRangeItem{
		Type: corev1.LimitTypeContainer, Default: amounts("cpu", "500m", "memory", "512Mi"), DefaultRequest: amounts("cpu", "100m", "memory", "256Mi"),
	})))
	p := newPod("p", func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "first", Image: "i", Resources: corev1.ResourceRequirements{Requests: amounts("cpu", "50m")}}}
	})
	require.NoError(t, cl.Create(ctx, p))
	got := p.Spec.Containers[0].Resources
	require.Equal(t, "100m 256Mi 500m 512Mi", got.Requests.Cpu().String()+" "+got.Requests.Memory().String()+" "+got.Limits.Cpu().String()+" "+got.Limits.Memory().String())
	require.Equal(t, "50m", p.Spec.InitContainers[0].Resources.Requests.Cpu().String())
	require.Equal(t, corev1.PodQOSBurstable, p.Status.QOSClass)
	require.Equal(t, "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c; "+
		"memory request for init container first; cpu, memory limit for init container first", p.Annotations["kubernetes.io/limit-ranger"])
}

func TestLimitRangesRefuseInKubernetesWords(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	require.NoError(t, cl.Create(ctx, limitRange("bounds",
		corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Min: amounts("cpu", "100m"), Max: amounts("cpu", "1"), Default: amounts("cpu", "500m"), MaxLimitRequestRatio: amounts("cpu", "4")},
		corev1.LimitRangeItem{Type: corev1.LimitTypePod, Max: amounts("memory", "1Gi")},
		corev1.LimitRangeItem{Type: corev1.LimitTypePersistentVolumeClaim, Min: amounts("storage", "1Gi"), Max: amounts("storage", "2Gi")},
	)))
	fits := amounts("memory", "64Mi")
	for _, c := range []struct {
		requests, limits corev1.ResourceList
		want             string
	}{
		{amounts("cpu", "50m"), fits, "[minimum cpu usage per Container is 100m, but request is 50m, cpu max limit to request ratio per Container is 4, but provided ratio is 10.000000]"},
		{amounts("cpu", "500m"), amounts("cpu", "2", "memory", "64Mi"), "maximum cpu usage per Container is 1, but limit is 2"},
		{amounts("cpu", "200m"), amounts("cpu", "1", "memory", "64Mi"), "cpu max limit to request ratio per Container is 4, but provided ratio is 5.000000"},
		{amounts("cpu", "500m"), nil, "maximum memory usage per Pod is 1Gi.  No limit is specified"},
		{amounts("cpu", "500m"), amounts("memory", "2Gi"), "maximum memory usage per Pod is 1Gi, but limit is 2Gi"},
	} {
		err := cl.Create(ctx, newPod("p", using(c.requests, c.limits)))
		require.True(t, apierrors.IsForbidden(err), "%v", err)
		require.EqualError(t, err, `pods "p" is forbidden: `+c.want)
	}
	require.NoError(t, cl.Create(ctx, newPod("p", using(amounts("cpu", "500m"), fits))))
	require.NoError(t, cl.Create(ctx, newPod("exactly", using(amounts("cpu", "175m"), amounts("cpu", "700m", "memory", "64Mi")))))
	require.EqualError(t, cl.Create(ctx, newClaim("small", "1Mi")),
		`persistentvolumeclaims "small" is forbidden: minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi`)
	require.EqualError(t, cl.Create(ctx, newClaim("large", "3Gi")),
		`persistentvolumeclaims "large" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi`)
	require.NoError(t, cl.Create(ctx, newClaim("fits", "1Gi")))
}
