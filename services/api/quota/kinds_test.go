package quota_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/api/apitest"
)

func TestEveryCountableResource(t *testing.T) {
	w := newWorld(t)
	limits := hard(
		"services", "10", "services.nodeports", "3", "services.loadbalancers", "1", "count/services", "10",
		"persistentvolumeclaims", "10", "requests.storage", "10Gi", "gold.storageclass.storage.k8s.io/requests.storage", "2Gi",
		"gold.storageclass.storage.k8s.io/persistentvolumeclaims", "5", "configmaps", "10", "count/deployments.apps", "1",
		"requests.example.com/gpu", "2", "count/resourceclaims.resource.k8s.io", "5", "fast.deviceclass.resource.k8s.io/devices", "4",
	)
	w.create(newQuota("all", limits, nil))
	service := func(name string, kind corev1.ServiceType, ports int) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.ServiceSpec{Type: kind}}
		for i := range ports {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprintf("p%d", i), Port: int32(80 + i)})
		}
		return s
	}
	claim := func(name, class, size string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: hard("storage", size)},
		}}
	}
	inside := service("inside", corev1.ServiceTypeClusterIP, 3)
	w.create(inside)
	w.create(service("outside", corev1.ServiceTypeLoadBalancer, 1))
	require.Contains(t, w.refused(service("more", corev1.ServiceTypeLoadBalancer, 1)), "requested: services.loadbalancers=1, used: services.loadbalancers=1")
	inside.Spec.Type = corev1.ServiceTypeNodePort
	require.ErrorContains(t, w.Update(t.Context(), inside), "exceeded quota: all, requested: services.nodeports=3, used: services.nodeports=1, limited: services.nodeports=3")

	w.create(claim("a", "gold", "1Gi"))
	w.create(claim("b", "lead", "4Gi"))
	require.Contains(t, w.refused(claim("c", "gold", "2Gi")), "gold.storageclass.storage.k8s.io/requests.storage=2Gi, used: gold.storageclass.storage.k8s.io/requests.storage=1Gi")

	w.create(newDeployment("d"))
	require.Contains(t, w.refused(newDeployment("e")), `deployments.apps "e" is forbidden: exceeded quota: all, requested: count/deployments.apps=1`)

	gpu := hard("example.com/gpu", "2")
	w.create(newPod("p", gpu, func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = gpu }))
	require.Contains(t, w.refused(newPod("q", gpu, func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = gpu })), "requests.example.com/gpu=2, used: requests.example.com/gpu=2")

	w.create(newDeviceClaim("x", 3))
	require.Contains(t, w.refused(newDeviceClaim("y", 2)), "fast.deviceclass.resource.k8s.io/devices=2, used: fast.deviceclass.resource.k8s.io/devices=3")

	w.used("all", hard(
		"services", "3", "services.nodeports", "1", "services.loadbalancers", "1", "count/services", "3",
		"persistentvolumeclaims", "2", "requests.storage", "5Gi", "gold.storageclass.storage.k8s.io/requests.storage", "1Gi",
		"gold.storageclass.storage.k8s.io/persistentvolumeclaims", "1", "configmaps", "0", "count/deployments.apps", "1",
		"requests.example.com/gpu", "2", "count/resourceclaims.resource.k8s.io", "1", "fast.deviceclass.resource.k8s.io/devices", "3",
	))
}

func newDeployment(name string) *appsv1.Deployment {
	labels := map[string]string{"a": name}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: newPod("", nil, nil).Spec},
	}}
}

func newDeviceClaim(name string, n int64) *resourcev1.ResourceClaim {
	return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: resourcev1.ResourceClaimSpec{
		Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{
			DeviceClassName: "fast", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: n,
		}}}},
	}}
}

func TestScopes(t *testing.T) {
	deadline := int64(60)
	withDeadline := func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = &deadline }
	elsewhere := func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			TopologyKey: "t", Namespaces: []string{"other"}, LabelSelector: &metav1.LabelSelector{},
		}}}}
	}
	critical := func(p *corev1.Pod) { p.Spec.PriorityClassName = "system-node-critical" }
	scoped := func(scope corev1.ResourceQuotaScope) func(*corev1.ResourceQuotaSpec) {
		return func(s *corev1.ResourceQuotaSpec) { s.Scopes = []corev1.ResourceQuotaScope{scope} }
	}
	ofClass := func(op corev1.ScopeSelectorOperator, names ...string) func(*corev1.ResourceQuotaSpec) {
		return func(s *corev1.ResourceQuotaSpec) {
			s.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
				{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: op, Values: names},
			}}
		}
	}
	cpu := hard("cpu", "1")
	for _, c := range []struct {
		name            string
		scope           func(*corev1.ResourceQuotaSpec)
		inside, outside *corev1.Pod
	}{
		{"terminating", scoped(corev1.ResourceQuotaScopeTerminating), newPod("in", nil, withDeadline), newPod("out", nil, nil)},
		{"not terminating", scoped(corev1.ResourceQuotaScopeNotTerminating), newPod("in", nil, nil), newPod("out", nil, withDeadline)},
		{"best effort", scoped(corev1.ResourceQuotaScopeBestEffort), newPod("in", nil, nil), newPod("out", cpu, nil)},
		{"not best effort", scoped(corev1.ResourceQuotaScopeNotBestEffort), newPod("in", cpu, nil), newPod("out", nil, nil)},
		{"affinity", scoped(corev1.ResourceQuotaScopeCrossNamespacePodAffinity), newPod("in", nil, elsewhere), newPod("out", nil, nil)},
		{"some class", ofClass(corev1.ScopeSelectorOpExists), newPod("in", nil, critical), newPod("out", nil, nil)},
		{"no class", ofClass(corev1.ScopeSelectorOpDoesNotExist), newPod("in", nil, nil), newPod("out", nil, critical)},
		{"this class", ofClass(corev1.ScopeSelectorOpIn, "system-node-critical"), newPod("in", nil, critical), newPod("out", nil, nil)},
		{"other classes", ofClass(corev1.ScopeSelectorOpNotIn, "system-node-critical"), newPod("in", nil, nil), newPod("out", nil, critical)},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.create(newQuota("scoped", hard("pods", "0"), c.scope))
			w.create(c.outside)
			require.Contains(t, w.refused(c.inside), "exceeded quota: scoped, requested: pods=1, used: pods=0, limited: pods=0")
		})
	}
}

func TestResizesAreCharged(t *testing.T) {
	w := newWorld(t)
	w.create(newQuota("q", hard("requests.cpu", "1"), nil))
	p := newPod("p", hard("cpu", "400m"), nil)
	w.create(p)
	p.Spec.Containers[0].Resources.Requests = hard("cpu", "1200m")
	require.ErrorContains(t, w.UpdateSubresource(t.Context(), p.DeepCopy(), "resize"), "exceeded quota: q, requested: requests.cpu=800m, used: requests.cpu=400m, limited: requests.cpu=1")
	p.Spec.Containers[0].Resources.Requests = hard("cpu", "700m")
	require.NoError(t, w.UpdateSubresource(t.Context(), p, "resize"))
	w.used("q", hard("requests.cpu", "700m"))
}

func TestCustomObjectsAreCountedFromTheirFirstDay(t *testing.T) {
	w := newWorld(t)
	rpc := apiv1.NewResourceServiceClient(w.Conn(apitest.Admin))
	create := func(apiVersion, kind, namespace, object string) error {
		_, err := rpc.Create(t.Context(), &apiv1.CreateRequest{
			Ref:    &apiv1.ObjectRef{ApiVersion: apiVersion, Kind: kind, Namespace: namespace},
			Object: &apiv1.Object{Encoding: apiv1.Encoding_ENCODING_JSON, Data: []byte(object)},
		})
		return apierr.FromGRPC(err)
	}
	w.create(newQuota("q", hard("count/lamps.example.com", "1", "count/configmaps", "5"), nil))
	w.used("q", hard("count/configmaps", "0"))
	require.NoError(t, create("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
		"metadata":{"name":"lamps.example.com"},"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"lamps","kind":"Lamp"},
		"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}`))
	lamp := func(name string) error {
		return create("example.com/v1", "Lamp", "default", `{"apiVersion":"example.com/v1","kind":"Lamp","metadata":{"name":"`+name+`"}}`)
	}
	require.Eventually(t, func() bool { return lamp("a") == nil }, 10*time.Second, 5*time.Millisecond)
	w.used("q", hard("count/configmaps", "0", "count/lamps.example.com", "1"))
	require.ErrorContains(t, lamp("b"), `lamps.example.com "b" is forbidden: exceeded quota: q, requested: count/lamps.example.com=1, used: count/lamps.example.com=1`)
	_, err := rpc.Delete(t.Context(), &apiv1.DeleteRequest{Ref: &apiv1.ObjectRef{ApiVersion: "example.com/v1", Kind: "Lamp", Namespace: "default", Name: "a"}})
	require.NoError(t, err)
	w.used("q", hard("count/configmaps", "0", "count/lamps.example.com", "0"))
}

func TestLostPodsAreNotChargedForever(t *testing.T) {
	w := newWorld(t)
	w.create(newQuota("q", hard("pods", "1"), nil))
	stuck := newPod("stuck", nil, func(p *corev1.Pod) { p.Finalizers = []string{"example.com/stuck"}; p.Spec.NodeName = "gone" })
	w.create(stuck)
	w.used("q", hard("pods", "1"))
	// It has a second to end, and is waited for as long again.
	grace := int64(1)
	require.NoError(t, w.Delete(t.Context(), stuck, client.DeleteOptions{GracePeriodSeconds: &grace}))
	w.used("q", hard("pods", "0"))
}
