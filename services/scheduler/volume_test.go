package scheduler_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/volume"
)

func (c *cluster) addClaim(name, class string) {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	claim.Spec.StorageClassName = &class
	claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	require.NoError(c.t, c.Create(c.t.Context(), claim))
}

func (c *cluster) addClaimingPod(name, claim string) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "x"}}
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}
	require.NoError(c.t, c.Create(c.t.Context(), p))
}

// changeClaim changes a claim once it is as when wants it.
func (c *cluster) changeClaim(name string, when func(*corev1.PersistentVolumeClaim) bool, change func(*corev1.PersistentVolumeClaim)) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		claim := &corev1.PersistentVolumeClaim{}
		if c.Get(c.t.Context(), claim, "default", name) != nil || !when(claim) {
			return false
		}
		change(claim)
		status := claim.Status
		if c.Update(c.t.Context(), claim) != nil {
			return false
		}
		claim.Status = status
		return c.UpdateStatus(c.t.Context(), claim) == nil
	}, 20*time.Second, 5*time.Millisecond)
}

func selected(node string) func(*corev1.PersistentVolumeClaim) bool {
	return func(c *corev1.PersistentVolumeClaim) bool { return c.Annotations[volume.SelectedNode] == node }
}

func bindTo(v string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) {
		c.Annotations[volume.BindCompleted], c.Spec.VolumeName, c.Status.Phase = "yes", v, corev1.ClaimBound
	}
}

func TestAPodWithAClaimIsBoundWhenItsVolumeIs(t *testing.T) {
	c := start(t)
	waits := storagev1.VolumeBindingWaitForFirstConsumer
	for class, provisioner := range map[string]string{"made": volume.LocalProvisioner, "byhand": volume.NoProvisioner} {
		require.NoError(t, c.Create(t.Context(), &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: class}, Provisioner: provisioner, VolumeBindingMode: &waits}))
	}
	c.addNode("n1", "4")

	c.addClaimingPod("p", "data")
	c.eventually("p", unschedulable(`0/1 nodes are available: persistentvolumeclaim "data" not found.`))
	c.addClaim("data", "made")
	// The volume cannot be made there; the scheduler chooses again.
	c.changeClaim("data", selected("n1"), func(claim *corev1.PersistentVolumeClaim) { delete(claim.Annotations, volume.SelectedNode) })
	c.changeClaim("data", selected("n1"), bindTo("gone"))
	c.eventually("p", boundTo("n1"))

	// A volume that is there is reserved for the claim.
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"}}
	v.Spec = corev1.PersistentVolumeSpec{
		Capacity:    corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: "byhand",
		PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/data"}},
	}
	require.NoError(t, c.Create(t.Context(), v))
	v.Status.Phase = corev1.VolumeAvailable
	require.NoError(t, c.UpdateStatus(t.Context(), v))
	c.addClaim("mine", "byhand")
	c.addClaimingPod("q", "mine")
	require.Eventually(t, func() bool {
		require.NoError(t, c.Get(t.Context(), v, "", "v"))
		return v.Spec.ClaimRef != nil && v.Spec.ClaimRef.Name == "mine"
	}, 20*time.Second, 5*time.Millisecond)
	now := int64(0)
	require.NoError(t, c.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "q"}}, client.DeleteOptions{GracePeriodSeconds: &now}))
	c.addClaimingPod("again", "mine")
	c.changeClaim("mine", func(*corev1.PersistentVolumeClaim) bool { return true }, func(claim *corev1.PersistentVolumeClaim) {
		claim.Annotations = map[string]string{}
		bindTo("v")(claim)
	})
	c.eventually("again", boundTo("n1"))
}
