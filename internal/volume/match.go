package volume

import (
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// IsFor says whether a volume is reserved for a claim, by name and, where it says one, by UID.
func IsFor(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) bool {
	ref := v.Spec.ClaimRef
	return ref != nil && ref.Namespace == c.Namespace && ref.Name == c.Name && (ref.UID == "" || ref.UID == c.UID)
}

// Mode is a volume mode with its default.
func Mode(m *corev1.PersistentVolumeMode) corev1.PersistentVolumeMode {
	if m == nil || *m == "" {
		return corev1.PersistentVolumeFilesystem
	}
	return *m
}

// The reasons why a volume does not suit a claim that asks for it by name.
var (
	errSize  = errors.New("requested PV is too small")
	errClass = errors.New("storageClassName does not match")
	errMode  = errors.New("incompatible volumeMode")
	errWays  = errors.New("incompatible accessMode")
)

// Mismatch says why a volume does not suit a claim; nil when it does.
func Mismatch(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) error {
	class, _ := ClassOfClaim(c)
	switch {
	case Smaller(v, c):
		return errSize
	case ClassOfVolume(v) != class:
		return errClass
	case Mode(v.Spec.VolumeMode) != Mode(c.Spec.VolumeMode):
		return errMode
	case !offers(v, c):
		return errWays
	}
	return nil
}

// Smaller says whether a volume has less room than a claim asks for.
func Smaller(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) bool {
	size, want := v.Spec.Capacity[corev1.ResourceStorage], c.Spec.Resources.Requests[corev1.ResourceStorage]
	return size.Cmp(want) < 0
}

// offers says whether a volume can be accessed in all the ways that a claim asks for.
func offers(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) bool {
	for _, mode := range c.Spec.AccessModes {
		if !slices.Contains(v.Spec.AccessModes, mode) {
			return false
		}
	}
	return true
}

// Candidate is a volume that a claim may get.
type Candidate struct {
	*corev1.PersistentVolume
	// Reserved is true for a volume that was set aside for just this claim.
	Reserved bool
}

// Best finds the volume for a claim: one that is reserved for it, or the smallest free one that suits. Where fits is
// given, only volumes that it agrees to count.
func Best(volumes []*corev1.PersistentVolume, c *corev1.PersistentVolumeClaim, fits func(*corev1.PersistentVolume) bool) (best Candidate, ok bool) {
	selector, err := metav1.LabelSelectorAsSelector(c.Spec.Selector)
	if err != nil {
		return best, false
	}
	for _, v := range volumes {
		if v.DeletionTimestamp != nil || Mode(v.Spec.VolumeMode) != Mode(c.Spec.VolumeMode) || Smaller(v, c) || fits != nil && !fits(v) {
			continue
		}
		if IsFor(v, c) {
			return Candidate{v, true}, true
		}
		if v.Spec.ClaimRef != nil || v.Status.Phase != corev1.VolumeAvailable || Mismatch(v, c) != nil || !sameAttributes(v, c) {
			continue
		}
		if c.Spec.Selector != nil && !selector.Matches(labels.Set(v.Labels)) {
			continue
		}
		if !ok || better(v, best.PersistentVolume) {
			best, ok = Candidate{v, false}, true
		}
	}
	return best, ok
}

func sameAttributes(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) bool {
	a, b := v.Spec.VolumeAttributesClassName, c.Spec.VolumeAttributesClassName
	return (a == nil || *a == "") && (b == nil || *b == "") || a != nil && b != nil && *a == *b
}

// better prefers the smaller volume and, among equals, the first by name.
func better(a, b *corev1.PersistentVolume) bool {
	x, y := a.Spec.Capacity[corev1.ResourceStorage], b.Spec.Capacity[corev1.ResourceStorage]
	if order := x.Cmp(y); order != 0 {
		return order < 0
	}
	return strings.Compare(a.Name, b.Name) < 0
}
