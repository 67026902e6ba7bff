package storage_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/volume"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/storage"
)

// world is an API with the storage service and nobody else.
type world struct {
	*testing.T
	*client.Client
}

func start(t *testing.T) *world {
	c := apitest.Start(t)
	user := identity.User{Name: identity.UserControllers} // this is a test of its rights, too
	set := informer.NewSet(c.Client(user), zap.NewNop())
	recorder := events.New(c.Client(user), "storage", "", zap.NewNop())
	s := storage.New(storage.Config{Client: c.Client(user), Informers: set, Events: recorder, Logger: zap.NewNop()})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{set.Run, recorder.Run, s.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	w := &world{t, c.Client(apitest.Admin)}
	w.eventually("there is a default class", func() bool {
		return w.Get(w.Context(), &storagev1.StorageClass{}, "", storage.StandardClass) == nil
	})
	return w
}

func (w *world) eventually(what string, check func() bool) {
	w.Helper()
	require.Eventually(w, check, 20*time.Second, 5*time.Millisecond, what)
}

func (w *world) create(o client.Object) {
	w.Helper()
	require.NoError(w, w.Create(w.Context(), o))
}

func (w *world) claimIs(name string, phase corev1.PersistentVolumeClaimPhase) *corev1.PersistentVolumeClaim {
	w.Helper()
	c := &corev1.PersistentVolumeClaim{}
	w.eventually("claim "+name+" is "+string(phase), func() bool {
		return w.Get(w.Context(), c, "default", name) == nil && c.Status.Phase == phase
	})
	return c
}

func (w *world) volumeIs(name string, phase corev1.PersistentVolumePhase) *corev1.PersistentVolume {
	w.Helper()
	v := &corev1.PersistentVolume{}
	w.eventually("volume "+name+" is "+string(phase), func() bool {
		return w.Get(w.Context(), v, "", name) == nil && v.Status.Phase == phase
	})
	return v
}

// says waits for an event about an object.
func (w *world) says(object, reason, message string) {
	w.Helper()
	var all []string
	require.Eventuallyf(w, func() bool {
		list := &corev1.EventList{}
		require.NoError(w, w.List(w.Context(), list, client.ListOptions{}))
		all = nil
		for _, e := range list.Items {
			all = append(all, e.InvolvedObject.Name+" "+e.Reason+" "+e.Message)
			if e.InvolvedObject.Name == object && e.Reason == reason && strings.Contains(e.Message, message) {
				return true
			}
		}
		return false
	}, 20*time.Second, 10*time.Millisecond, "%s %s %s", object, reason, message)
}

func (w *world) gone(o client.Object) {
	w.Helper()
	w.eventually(o.GetName()+" is gone", func() bool {
		return apierrors.IsNotFound(w.Get(w.Context(), o, o.GetNamespace(), o.GetName()))
	})
}

func claim(name, class, size string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
	if class != "default" {
		c.Spec.StorageClassName = &class
	}
	return c
}

func hostPath(name, class, size string, policy corev1.PersistentVolumeReclaimPolicy) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
	v.Spec = corev1.PersistentVolumeSpec{
		Capacity:    corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: class, PersistentVolumeReclaimPolicy: policy,
		PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/data"}},
	}
	return v
}

func (w *world) node(name string) {
	w.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{corev1.LabelHostname: name}, Annotations: map[string]string{volume.FoldersAnnotation: "/data/" + name},
	}})
}

func TestAVolumeMadeByHandIsBoundReleasedAndFails(t *testing.T) {
	w := start(t)
	w.create(claim("web", "manual", "1Gi"))
	w.says("web", "ProvisioningFailed", `storageclass.storage.k8s.io "manual" not found`)
	w.create(claim("none", "", "1Gi"))
	w.says("none", "FailedBinding", "no persistent volumes available for this claim and no storage class is set")

	w.create(hostPath("big", "manual", "10Gi", corev1.PersistentVolumeReclaimDelete))
	w.volumeIs("big", corev1.VolumeBound)
	c := w.claimIs("web", corev1.ClaimBound)
	require.Equal(t, "big", c.Spec.VolumeName)
	size := c.Status.Capacity[corev1.ResourceStorage]
	require.Equal(t, "10Gi", size.String())

	require.NoError(t, w.Delete(t.Context(), c, client.DeleteOptions{}))
	v := w.volumeIs("big", corev1.VolumeFailed)
	require.Equal(t, "VolumeFailedDelete", v.Status.Reason)

	w.create(hostPath("kept", "", "2Gi", corev1.PersistentVolumeReclaimRetain))
	c = w.claimIs("none", corev1.ClaimBound)
	require.NoError(t, w.Delete(t.Context(), c, client.DeleteOptions{}))
	v = w.volumeIs("kept", corev1.VolumeReleased)
	again := claim("none", "", "1Gi")
	w.create(again)
	w.claimIs("none", corev1.ClaimPending)
	require.NotEqual(t, again.UID, v.Spec.ClaimRef.UID, "what is released is nobody else's")
	v.Spec.ClaimRef = nil
	require.NoError(t, w.Update(t.Context(), v))
	w.claimIs("none", corev1.ClaimBound)
}

func TestALocalFolderIsMadeWhereThePodGoes(t *testing.T) {
	w := start(t)
	w.node("n1")
	w.create(claim("data", "default", "1Gi"))
	w.says("data", "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
	c := w.claimIs("data", corev1.ClaimPending)
	require.Equal(t, storage.StandardClass, *c.Spec.StorageClassName)

	w.eventually("the node is selected", func() bool {
		require.NoError(t, w.Get(t.Context(), c, "default", "data"))
		c.Annotations = map[string]string{volume.SelectedNode: "n1"}
		return w.Update(t.Context(), c) == nil
	})
	w.says("data", "ProvisioningSucceeded", "Successfully provisioned volume pvc-"+string(c.UID))
	c = w.claimIs("data", corev1.ClaimBound)
	require.Equal(t, volume.LocalProvisioner, c.Annotations[volume.StorageProvisioner])
	v := w.volumeIs("pvc-"+string(c.UID), corev1.VolumeBound)
	require.Equal(t, "/data/n1/default_data_"+v.Name, v.Spec.Local.Path)
	require.Equal(t, []string{"n1"}, v.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values)

	w.eventually("more is asked for", func() bool {
		require.NoError(t, w.Get(t.Context(), c, "default", "data"))
		c.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("3Gi")
		return w.Update(t.Context(), c) == nil
	})
	w.eventually("it has grown", func() bool {
		require.NoError(t, w.Get(t.Context(), c, "default", "data"))
		size := c.Status.Capacity[corev1.ResourceStorage]
		return size.String() == "3Gi"
	})

	// The node has the last word about its folder; when it is gone, nobody has.
	require.NoError(t, w.Delete(t.Context(), c, client.DeleteOptions{}))
	w.eventually("the volume is on its way out", func() bool {
		return w.Get(t.Context(), v, "", v.Name) == nil && v.DeletionTimestamp != nil && v.Status.Phase == corev1.VolumeReleased
	})
	require.Contains(t, v.Finalizers, volume.FolderFinalizer)
	require.NoError(t, w.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, client.DeleteOptions{}))
	w.gone(v)
}

func TestANodeThatIsGoneIsDeselected(t *testing.T) {
	w := start(t)
	c := claim("data", storage.StandardClass, "1Gi")
	c.Annotations = map[string]string{volume.SelectedNode: "gone"}
	w.create(c)
	w.eventually("the scheduler may choose again", func() bool {
		return w.Get(t.Context(), c, "default", "data") == nil && c.Annotations[volume.SelectedNode] == ""
	})
}

func TestWhatIsInUseStays(t *testing.T) {
	w := start(t)
	w.create(hostPath("v", "", "1Gi", corev1.PersistentVolumeReclaimRetain))
	c := claim("data", "", "1Gi")
	c.Finalizers = []string{volume.ClaimProtection}
	w.create(c)
	w.claimIs("data", corev1.ClaimBound)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "user"}, Spec: corev1.PodSpec{
		NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}},
		Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}},
	}}
	w.create(pod)
	require.NoError(t, w.Delete(t.Context(), c, client.DeleteOptions{}))
	v := w.volumeIs("v", corev1.VolumeBound)
	v.Finalizers = []string{volume.VolumeProtection}
	w.eventually("the volume is protected", func() bool {
		require.NoError(t, w.Get(t.Context(), v, "", "v"))
		v.Finalizers = []string{volume.VolumeProtection}
		return w.Update(t.Context(), v) == nil
	})
	require.NoError(t, w.Delete(t.Context(), v, client.DeleteOptions{}))
	require.NoError(t, w.Get(t.Context(), c, "default", "data"))
	require.NotNil(t, c.DeletionTimestamp)
	now := int64(0)
	require.NoError(t, w.Delete(t.Context(), pod, client.DeleteOptions{GracePeriodSeconds: &now}))
	w.gone(c)
	w.gone(v)
}

func TestAPodsEphemeralVolumeHasAClaimOfThePod(t *testing.T) {
	w := start(t)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "c", Image: "i"}},
		Volumes: []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
			VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: claim("", "default", "1Gi").Spec},
		}}}},
	}}
	w.create(pod)
	c := w.claimIs("p-scratch", corev1.ClaimPending)
	require.True(t, volume.OwnedBy(c, pod))
	require.Equal(t, "b", c.Labels["a"])
}

func TestManyClaimsShareNoVolume(t *testing.T) {
	w := start(t)
	const volumes, claims = 20, 30
	for i := range claims {
		w.create(claim(fmt.Sprint("c", i), "", "1Gi"))
	}
	for i := range volumes {
		w.create(hostPath(fmt.Sprint("v", i), "", "1Gi", corev1.PersistentVolumeReclaimRetain))
	}
	bound := func() map[string]string {
		list, out := &corev1.PersistentVolumeClaimList{}, map[string]string{}
		require.NoError(t, w.List(t.Context(), list, client.ListOptions{}))
		for _, c := range list.Items {
			if c.Status.Phase == corev1.ClaimBound {
				require.Empty(t, out[c.Spec.VolumeName], "two claims have %s", c.Spec.VolumeName)
				out[c.Spec.VolumeName] = c.Name
			}
		}
		return out
	}
	w.eventually("all volumes are used", func() bool { return len(bound()) == volumes })
	list := &corev1.PersistentVolumeList{}
	require.NoError(t, w.List(t.Context(), list, client.ListOptions{}))
	by := bound()
	for _, v := range list.Items {
		require.Equal(t, by[v.Name], v.Spec.ClaimRef.Name)
	}
}
