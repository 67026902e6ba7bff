package admission_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/api/apitest"
)

func storageClass(name string, isDefault, grows bool) *storagev1.StorageClass {
	c := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "example.com/p", AllowVolumeExpansion: &grows}
	if isDefault {
		c.Annotations = map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}
	}
	return c
}

func TestClaimsGetTheDefaultClassAndGrowWhereItAllows(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	none := newClaim("none", "1Gi")
	require.NoError(t, cl.Create(ctx, none))
	require.Nil(t, none.Spec.StorageClassName)
	require.Equal(t, []string{"kubernetes.io/pvc-protection"}, none.Finalizers)

	require.NoError(t, cl.Create(ctx, storageClass("b-old", true, false)))
	require.NoError(t, cl.Create(ctx, storageClass("fixed", false, false)))
	claim := newClaim("plain", "1Gi")
	require.NoError(t, cl.Create(ctx, claim))
	require.Equal(t, "b-old", *claim.Spec.StorageClassName)
	require.NoError(t, cl.Create(ctx, storageClass("new", false, true)))
	claim = newClaim("grows", "1Gi")
	claim.Spec.StorageClassName = &[]string{"new"}[0]
	require.NoError(t, cl.Create(ctx, claim))
	empty := ""
	static := newClaim("static", "1Gi")
	static.Spec.StorageClassName = &empty
	require.NoError(t, cl.Create(ctx, static))
	require.Empty(t, *static.Spec.StorageClassName)

	claim.Spec.Resources.Requests = amounts("storage", "2Gi")
	require.ErrorContains(t, cl.Update(ctx, claim), `PersistentVolumeClaim "grows" is invalid: spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims`)
	fixed := newClaim("fixed", "1Gi")
	fixed.Spec.StorageClassName = &[]string{"fixed"}[0]
	require.NoError(t, cl.Create(ctx, fixed))
	for _, obj := range []*corev1.PersistentVolumeClaim{claim, fixed} {
		require.NoError(t, cl.Get(ctx, obj, "default", obj.Name))
		obj.Spec.VolumeName = "v-" + obj.Name
		require.NoError(t, cl.Update(ctx, obj))
		obj.Status.Phase, obj.Status.Capacity = corev1.ClaimBound, amounts("storage", "1Gi")
		require.NoError(t, cl.UpdateStatus(ctx, obj))
		obj.Spec.Resources.Requests = amounts("storage", "2Gi")
	}
	require.NoError(t, cl.Update(ctx, claim))
	require.EqualError(t, cl.Update(ctx, fixed), `persistentvolumeclaims "fixed" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize`)

	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Spec: corev1.PersistentVolumeSpec{
		Capacity: amounts("storage", "1Gi"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/v"}},
	}}
	require.NoError(t, cl.Create(ctx, volume))
	require.Equal(t, []string{"kubernetes.io/pv-protection"}, volume.Finalizers)
}

func TestIngressesGetTheDefaultClass(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	newIngress := func(name string) *networkingv1.Ingress {
		return &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: networkingv1.IngressSpec{
			DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "s", Port: networkingv1.ServiceBackendPort{Number: 80}}},
		}}
	}
	require.NoError(t, cl.Create(ctx, &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
		Spec:       networkingv1.IngressClassSpec{Controller: "example.com/web"},
	}))
	plain := newIngress("plain")
	require.NoError(t, cl.Create(ctx, plain))
	require.Equal(t, "web", *plain.Spec.IngressClassName)
	old := newIngress("old")
	old.Annotations = map[string]string{"kubernetes.io/ingress.class": "other"}
	require.NoError(t, cl.Create(ctx, old))
	require.Nil(t, old.Spec.IngressClassName)
}

func TestRuntimeClassesSayWhatTheirPodsNeed(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	require.NoError(t, cl.Create(ctx, &nodev1.RuntimeClass{
		ObjectMeta: metav1.ObjectMeta{Name: "vm"}, Handler: "kata", Overhead: &nodev1.Overhead{PodFixed: amounts("cpu", "250m")},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"vm": "yes"}, Tolerations: []corev1.Toleration{{Key: "vm", Operator: corev1.TolerationOpExists}}},
	}))
	in := func(class string, change func(*corev1.Pod)) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.RuntimeClassName = &class
			if change != nil {
				change(p)
			}
		}
	}
	p := newPod("p", in("vm", func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Key: "vm", Operator: corev1.TolerationOpExists}}
	}))
	require.NoError(t, cl.Create(ctx, p))
	require.Equal(t, "250m", p.Spec.Overhead.Cpu().String())
	require.Equal(t, map[string]string{"vm": "yes"}, p.Spec.NodeSelector)
	require.Len(t, p.Spec.Tolerations, 3, "the class's, the same as the pod's, and the two that all pods have")
	for want, change := range map[string]func(*corev1.Pod){
		`pod rejected: RuntimeClass "gone" not found`:                                              in("gone", nil),
		"pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead":               in("vm", func(p *corev1.Pod) { p.Spec.Overhead = amounts("cpu", "1") }),
		"conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no": in("vm", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"vm": "no"} }),
		"pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead":       func(p *corev1.Pod) { p.Spec.Overhead = amounts("cpu", "1") },
		"the string value of PreemptionPolicy (Never) must not be provided in pod spec; priority admission controller computed PreemptLowerPriority from the given PriorityClass name": func(p *corev1.Pod) {
			never := corev1.PreemptNever
			p.Spec.PreemptionPolicy = &never
		},
	} {
		require.EqualError(t, cl.Create(ctx, newPod("x", change)), `pods "x" is forbidden: `+want)
	}
}

func TestOnlyOnePriorityClassIsTheDefault(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	first := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "first"}, Value: 5, GlobalDefault: true}
	require.NoError(t, cl.Create(ctx, first))
	require.EqualError(t, cl.Create(ctx, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "second"}, Value: 6, GlobalDefault: true}),
		`priorityclasses.scheduling.k8s.io "second" is forbidden: PriorityClass first is already marked as default. Only one default can exist`)
	first.Description = "still the one"
	require.NoError(t, cl.Update(ctx, first))
	p := newPod("p", nil)
	require.NoError(t, cl.Create(ctx, p))
	require.Equal(t, int32(5), *p.Spec.Priority)
}

func TestPodsAreLabelledWithTheirPlace(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	require.NoError(t, cl.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{corev1.LabelTopologyZone: "z", corev1.LabelTopologyRegion: "r"}}}))
	there := newPod("there", func(p *corev1.Pod) { p.Spec.NodeName = "n" })
	require.NoError(t, cl.Create(ctx, there))
	bound := newPod("bound", nil)
	require.NoError(t, cl.Create(ctx, bound))
	require.NoError(t, cl.CreateSubresource(ctx, bound, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}, "bound", "binding"))
	require.NoError(t, cl.Get(ctx, bound, "default", "bound"))
	for _, p := range []client.Object{there, bound} {
		require.Equal(t, "z", p.GetLabels()[corev1.LabelTopologyZone], p.GetName())
		require.Equal(t, "r", p.GetLabels()[corev1.LabelTopologyRegion], p.GetName())
	}
}
