package binder

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/volume"
)

// stock is a world of a few objects.
type stock struct {
	volumes   map[string]*corev1.PersistentVolume
	claims    map[string]*corev1.PersistentVolumeClaim
	classes   map[string]*storagev1.StorageClass
	byDefault string
	pod       string
}

func (s *stock) world() *world {
	return &world{
		volume: func(name string) *corev1.PersistentVolume { return s.volumes[name] },
		claim:  func(ref *corev1.ObjectReference) *corev1.PersistentVolumeClaim { return s.claims[ref.Name] },
		volumes: func(class string) (out []*corev1.PersistentVolume) {
			for _, v := range s.volumes {
				if v.Spec.StorageClassName == class {
					out = append(out, v)
				}
			}
			return out
		},
		class:     func(name string) *storagev1.StorageClass { return s.classes[name] },
		byDefault: func() *storagev1.StorageClass { return s.classes[s.byDefault] },
		waiting:   func(*corev1.PersistentVolumeClaim) string { return s.pod },
	}
}

func class(provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: provisioner}, Provisioner: provisioner, VolumeBindingMode: &mode}
}

func newClaim(class string, change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c", UID: "uid", Annotations: map[string]string{}}}
	c.Spec.StorageClassName = &class
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")}
	for _, f := range change {
		f(c)
	}
	return c
}

func newVolume(name, class, size string, change ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}}}
	v.Spec.StorageClassName, v.Status.Phase = class, corev1.VolumeAvailable
	v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadWriteMany}
	v.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
	for _, f := range change {
		f(v)
	}
	return v
}

func reserved(uid types.UID) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) {
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "ns", Name: "c", UID: uid}
	}
}

func asks(name string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = name }
}

func wasBound(c *corev1.PersistentVolumeClaim) { c.Annotations[volume.BindCompleted] = "yes" }

func TestWhatAClaimGets(t *testing.T) {
	none := func(*corev1.PersistentVolumeClaim) {}
	for name, c := range map[string]struct {
		claim   *corev1.PersistentVolumeClaim
		volumes []*corev1.PersistentVolume
		want    string // "bind x", "provision x", "class x", or the reason of the event
		phase   corev1.PersistentVolumeClaimPhase
	}{
		"the smallest that is large enough": {newClaim("byhand", none), []*corev1.PersistentVolume{
			newVolume("tiny", "byhand", "1Gi"), newVolume("huge", "byhand", "9Gi"), newVolume("fits", "byhand", "3Gi"), newVolume("other", "now", "2Gi"),
		}, "bind fits", ""},
		"what is reserved for it, whatever else there is": {newClaim("byhand"), []*corev1.PersistentVolume{
			newVolume("small", "byhand", "2Gi"), newVolume("mine", "byhand", "9Gi", reserved("")),
		}, "bind mine", ""},
		"nothing that is another's": {newClaim("byhand"), []*corev1.PersistentVolume{newVolume("v", "byhand", "2Gi", reserved("another"))}, "ProvisioningFailed", corev1.ClaimPending},
		"nothing that is not free yet": {newClaim("byhand"), []*corev1.PersistentVolume{
			newVolume("v", "byhand", "2Gi", func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeReleased }),
		}, "ProvisioningFailed", corev1.ClaimPending},
		"none of another mode": {newClaim("byhand", func(c *corev1.PersistentVolumeClaim) {
			block := corev1.PersistentVolumeBlock
			c.Spec.VolumeMode = &block
		}), []*corev1.PersistentVolume{newVolume("v", "byhand", "2Gi")}, "ProvisioningFailed", corev1.ClaimPending},
		"none that cannot be accessed so": {newClaim("byhand", func(c *corev1.PersistentVolumeClaim) {
			c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany}
		}), []*corev1.PersistentVolume{newVolume("v", "byhand", "2Gi")}, "ProvisioningFailed", corev1.ClaimPending},
		"the one that its selector chooses": {newClaim("byhand", func(c *corev1.PersistentVolumeClaim) {
			c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"disk": "ssd"}}
		}), []*corev1.PersistentVolume{
			newVolume("a", "byhand", "2Gi"), newVolume("b", "byhand", "3Gi", func(v *corev1.PersistentVolume) { v.Labels = map[string]string{"disk": "ssd"} }),
		}, "bind b", ""},
		"one is made":           {newClaim("now"), nil, "provision now", ""},
		"its class is missing":  {newClaim("missing"), nil, "ProvisioningFailed", corev1.ClaimPending},
		"it has none":           {newClaim(""), nil, "FailedBinding", corev1.ClaimPending},
		"it leaves that open":   {newClaim("", func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil }), nil, "class now", ""},
		"it waits for a pod":    {newClaim("waits"), []*corev1.PersistentVolume{newVolume("v", "waits", "2Gi")}, "WaitForFirstConsumer", corev1.ClaimPending},
		"its node is known":     {newClaim("waits", func(c *corev1.PersistentVolumeClaim) { c.Annotations[volume.SelectedNode] = "n" }), nil, "provision waits", ""},
		"the scheduler chose":   {newClaim("waits"), []*corev1.PersistentVolume{newVolume("v", "waits", "2Gi", reserved("uid"))}, "bind v", ""},
		"it asks for one":       {newClaim("byhand", asks("v")), []*corev1.PersistentVolume{newVolume("v", "byhand", "2Gi")}, "bind v", ""},
		"that is not there yet": {newClaim("byhand", asks("v")), nil, "", corev1.ClaimPending},
		"that is too small":     {newClaim("byhand", asks("v")), []*corev1.PersistentVolume{newVolume("v", "byhand", "1Gi")}, "VolumeMismatch", corev1.ClaimPending},
		"that is another's":     {newClaim("byhand", asks("v")), []*corev1.PersistentVolume{newVolume("v", "byhand", "2Gi", reserved("another"))}, "FailedBinding", corev1.ClaimPending},
		"it has one":            {newClaim("byhand", asks("v"), wasBound), []*corev1.PersistentVolume{newVolume("v", "byhand", "2Gi", reserved("uid"))}, "bind v", ""},
		"its one is gone":       {newClaim("byhand", asks("v"), wasBound), nil, "ClaimLost", corev1.ClaimLost},
		"its one was given on":  {newClaim("byhand", asks("v"), wasBound), []*corev1.PersistentVolume{newVolume("v", "byhand", "2Gi", reserved("another"))}, "ClaimMisbound", corev1.ClaimLost},
		"it has forgotten it":   {newClaim("byhand", wasBound), nil, "ClaimLost", corev1.ClaimLost},
	} {
		t.Run(name, func(t *testing.T) {
			s := &stock{volumes: map[string]*corev1.PersistentVolume{}, byDefault: "now", classes: map[string]*storagev1.StorageClass{
				"byhand": class(volume.NoProvisioner, storagev1.VolumeBindingImmediate),
				"now":    class("now", storagev1.VolumeBindingImmediate), "waits": class("waits", storagev1.VolumeBindingWaitForFirstConsumer),
			}}
			for _, v := range c.volumes {
				s.volumes[v.Name] = v
			}
			plan := planClaim(c.claim, s.world())
			require.Equal(t, c.want, told(&plan))
			require.Equal(t, c.phase, plan.phase)
		})
	}
}

func told(p *claimPlan) string {
	switch {
	case p.bind != nil:
		return "bind " + p.bind.Name
	case p.provision != nil:
		return "provision " + p.provision.Provisioner
	case p.class != "":
		return "class " + p.class
	case p.note != nil:
		return p.note.reason
	}
	return ""
}

func TestWhatBecomesOfAVolume(t *testing.T) {
	policy := func(p corev1.PersistentVolumeReclaimPolicy, by string) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) {
			v.Spec.PersistentVolumeReclaimPolicy, v.Status.Phase = p, corev1.VolumeBound
			if by != "" {
				v.Annotations[volume.ProvisionedBy] = by
			}
		}
	}
	for name, c := range map[string]struct {
		volume *corev1.PersistentVolume
		claim  *corev1.PersistentVolumeClaim
		want   volumePlan
	}{
		"nobody's":          {newVolume("v", "", "1Gi"), nil, volumePlan{phase: corev1.VolumeAvailable}},
		"reserved":          {newVolume("v", "", "1Gi", reserved("")), nil, volumePlan{phase: corev1.VolumeAvailable}},
		"its claim's":       {newVolume("v", "", "1Gi", reserved("uid")), newClaim("", asks("v")), volumePlan{phase: corev1.VolumeBound}},
		"about to be":       {newVolume("v", "", "1Gi", reserved("uid")), newClaim(""), volumePlan{phase: corev1.VolumeAvailable}},
		"retained":          {newVolume("v", "", "1Gi", reserved("uid"), policy(corev1.PersistentVolumeReclaimRetain, "")), nil, volumePlan{phase: corev1.VolumeReleased}},
		"of a claim's name": {newVolume("v", "", "1Gi", reserved("older"), policy(corev1.PersistentVolumeReclaimRetain, "")), newClaim(""), volumePlan{phase: corev1.VolumeReleased}},
		"deleted":           {newVolume("v", "", "1Gi", reserved("uid"), policy(corev1.PersistentVolumeReclaimDelete, volume.LocalProvisioner)), nil, volumePlan{phase: corev1.VolumeReleased, remove: true}},
		"others' to delete": {newVolume("v", "", "1Gi", reserved("uid"), policy(corev1.PersistentVolumeReclaimDelete, "csi.example.com")), nil, volumePlan{phase: corev1.VolumeReleased}},
		"nobody can delete": {newVolume("v", "", "1Gi", reserved("uid"), policy(corev1.PersistentVolumeReclaimDelete, "")), nil, volumePlan{phase: corev1.VolumeFailed, reason: "VolumeFailedDelete"}},
		"not recycled":      {newVolume("v", "", "1Gi", reserved("uid"), policy(corev1.PersistentVolumeReclaimRecycle, "")), nil, volumePlan{phase: corev1.VolumeFailed, reason: "VolumeFailedRecycle"}},
		"passed over":       {newVolume("v", "", "1Gi", reserved("uid")), newClaim("", asks("another")), volumePlan{phase: corev1.VolumeAvailable, unbind: true}},
		"made in vain": {
			newVolume("v", "", "1Gi", reserved("uid"), policy(corev1.PersistentVolumeReclaimDelete, volume.LocalProvisioner)), newClaim("", asks("another")),
			volumePlan{phase: corev1.VolumeReleased, remove: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &stock{claims: map[string]*corev1.PersistentVolumeClaim{"c": c.claim}}
			got := planVolume(c.volume, s.world())
			require.Equal(t, c.want.reason != "", got.note != nil)
			got.note, got.look = nil, nil
			require.Equal(t, c.want, got)
		})
	}
}

func TestUnbindingLeavesWhatAUserHasSaid(t *testing.T) {
	v := newVolume("v", "", "1Gi", reserved("uid"))
	require.Equal(t, "c", unbound(v).Spec.ClaimRef.Name)
	require.Empty(t, unbound(v).Spec.ClaimRef.UID)
	v.Annotations[volume.BoundByController] = "yes"
	require.Nil(t, unbound(v).Spec.ClaimRef)
}
