package plugin_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/volume"
	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/plugin"
)

// shelf is all claims, volumes and classes there are, by name.
type shelf struct {
	claims  map[string]*corev1.PersistentVolumeClaim
	volumes map[string]*corev1.PersistentVolume
	classes map[string]*storagev1.StorageClass
}

func (s *shelf) Claim(_, name string) *corev1.PersistentVolumeClaim { return s.claims[name] }
func (s *shelf) Volume(name string) *corev1.PersistentVolume        { return s.volumes[name] }
func (s *shelf) Class(name string) *storagev1.StorageClass          { return s.classes[name] }
func (s *shelf) Free(class string, _ *corev1.PersistentVolumeClaim) (out []*corev1.PersistentVolume) {
	for _, v := range s.volumes {
		if v.Spec.StorageClassName == class {
			out = append(out, v)
		}
	}
	return out
}

func ptr[T any](v T) *T { return &v }

func newShelf() *shelf {
	waits, atOnce := storagev1.VolumeBindingWaitForFirstConsumer, storagev1.VolumeBindingImmediate
	return &shelf{
		claims: map[string]*corev1.PersistentVolumeClaim{}, volumes: map[string]*corev1.PersistentVolume{},
		classes: map[string]*storagev1.StorageClass{
			"made":   {ObjectMeta: metav1.ObjectMeta{Name: "made"}, Provisioner: volume.LocalProvisioner, VolumeBindingMode: &waits},
			"byhand": {ObjectMeta: metav1.ObjectMeta{Name: "byhand"}, Provisioner: volume.NoProvisioner, VolumeBindingMode: &waits},
			"now":    {ObjectMeta: metav1.ObjectMeta{Name: "now"}, Provisioner: volume.LocalProvisioner, VolumeBindingMode: &atOnce},
		},
	}
}

func (s *shelf) claim(name, class, size string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: map[string]string{}}}
	c.Spec.StorageClassName = &class
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
	s.claims[name] = c
	return c
}

// volume is a free one that only one node reaches; "" for every node.
func (s *shelf) volume(name, class, size, node string) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
	v.Spec.StorageClassName, v.Status.Phase = class, corev1.VolumeAvailable
	v.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
	if node != "" {
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
		}}}}
	}
	s.volumes[name] = v
	return v
}

func (s *shelf) bind(c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
	c.Spec.VolumeName, c.Status.Phase = v.Name, corev1.ClaimBound
	c.Annotations[volume.BindCompleted] = "yes"
	v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: c.Namespace, Name: c.Name}
}

func claims(names ...string) podOption {
	return func(p *corev1.Pod) {
		for _, n := range names {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: n, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: n},
			}})
		}
	}
}

func TestAPodGoesWhereItsVolumesAreOrSaysWhyNot(t *testing.T) {
	for name, c := range map[string]struct {
		stock func(*shelf)
		node  string
		why   string
	}{
		"a missing claim":    {func(*shelf) {}, "", `0/2 nodes are available: persistentvolumeclaim "data" not found.`},
		"an unbound claim":   {func(s *shelf) { s.claim("data", "now", "1Gi") }, "", "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."},
		"a class that lacks": {func(s *shelf) { s.claim("data", "none", "1Gi") }, "", "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."},
		"a lost claim": {func(s *shelf) {
			c := s.claim("data", "now", "1Gi")
			c.Spec.VolumeName, c.Status.Phase = "gone", corev1.ClaimLost
		}, "", `0/2 nodes are available: persistentvolumeclaim "data" bound to non-existent persistentvolume "gone".`},
		"a claim on its way out": {func(s *shelf) {
			s.claim("data", "now", "1Gi").DeletionTimestamp = ptr(metav1.Now())
		}, "", `0/2 nodes are available: persistentvolumeclaim "data" is being deleted.`},
		"a volume that one node has": {func(s *shelf) {
			s.bind(s.claim("data", "now", "1Gi"), s.volume("v", "now", "1Gi", "n2"))
		}, "n2", ""},
		"a volume that no node has": {func(s *shelf) {
			s.bind(s.claim("data", "now", "1Gi"), s.volume("v", "now", "1Gi", "n3"))
		}, "", "0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity."},
		"a volume that is gone": {func(s *shelf) {
			s.bind(s.claim("data", "now", "1Gi"), s.volume("v", "now", "1Gi", ""))
			delete(s.volumes, "v")
		}, "", "0/2 nodes are available: 2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)."},
		"a free volume on one node": {func(s *shelf) {
			s.claim("data", "byhand", "1Gi")
			s.volume("small", "byhand", "1Mi", "n1")
			s.volume("v", "byhand", "1Gi", "n2")
		}, "n2", ""},
		"no free volume": {func(s *shelf) {
			s.claim("data", "byhand", "1Gi")
			s.volume("v", "byhand", "1Gi", "n3")
		}, "", "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind."},
		"a volume that is being made": {func(s *shelf) {
			s.claim("data", "made", "1Gi").Annotations[volume.SelectedNode] = "n2"
		}, "n2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			stock, s := newShelf(), world(node("n1"), node("n2"))
			s.Storage = stock
			c.stock(stock)
			d := framework.Decide(plugin.Default(), s, pod("p", claims("data")), 0)
			if c.node != "" {
				require.NotNil(t, d.Node, d.Summary(2))
				require.Equal(t, c.node, d.Node.Name)
				return
			}
			require.Nil(t, d.Node)
			require.Equal(t, c.why, d.Summary(2))
			require.Len(t, d.Refusers(), 1)
		})
	}
}

func TestClaimsOfOnePodGetDifferentVolumesAndNoneTakesTooMuch(t *testing.T) {
	stock, s := newShelf(), world(node("n1"))
	s.Storage = stock
	stock.claim("large", "byhand", "5Gi")
	stock.claim("little", "byhand", "1Gi")
	stock.claim("new", "made", "1Gi")
	stock.volume("v5", "byhand", "5Gi", "n1")
	stock.volume("v2", "byhand", "2Gi", "n1")
	plans := plugin.PlanClaims(s, pod("p", claims("large", "little", "new")), s.Node("n1"))
	got := map[string]string{}
	for _, p := range plans {
		got[p.Claim.Name] = ""
		if p.Volume != nil {
			got[p.Claim.Name] = p.Volume.Name
		}
	}
	require.Equal(t, map[string]string{"large": "v5", "little": "v2", "new": ""}, got)
}

func TestAClaimForOnePodIsNotForTwo(t *testing.T) {
	stock, s := newShelf(), world(node("n1"), node("n2"))
	s.Storage = stock
	c := stock.claim("data", "now", "1Gi")
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
	stock.bind(c, stock.volume("v", "now", "1Gi", ""))
	first := pod("first", claims("data"))
	s.Place(first, "n1")
	d := framework.Decide(plugin.Default(), s, pod("second", claims("data")), 0)
	require.Equal(t, "0/2 nodes are available: 2 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod.", d.Summary(2))
	s.Remove(first.Object.UID)
	require.NotNil(t, framework.Decide(plugin.Default(), s, pod("second", claims("data")), 0).Node)
}
