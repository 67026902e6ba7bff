package provision

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/volume"
)

func node(name string, ready corev1.ConditionStatus) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{volume.FoldersAnnotation: "/x"}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}},
	}
}

func TestWhichNodeKeepsAVolume(t *testing.T) {
	on := func(name string) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{volume.NodeLabel: name}}}
	}
	nodes := []*corev1.Node{node("down", corev1.ConditionFalse), node("b", corev1.ConditionTrue), node("a", corev1.ConditionTrue), node("full", corev1.ConditionTrue)}
	volumes := []*corev1.PersistentVolume{on("full")}
	require.Equal(t, "a", choose("", nodes, volumes).Name)
	require.Equal(t, "b", choose("", nodes, append(volumes, on("a"))).Name)
	require.Equal(t, "down", choose("down", nodes, volumes).Name, "where the scheduler has put the pod")
	require.Nil(t, choose("gone", nodes, volumes))
	require.Nil(t, choose("", nodes[:1], nil))
}

func TestWhatALocalFolderCannotBe(t *testing.T) {
	block := corev1.PersistentVolumeBlock
	require.NoError(t, refusal(&corev1.PersistentVolumeClaim{}))
	for _, spec := range []corev1.PersistentVolumeClaimSpec{
		{VolumeMode: &block}, {DataSource: &corev1.TypedLocalObjectReference{}}, {Selector: &metav1.LabelSelector{}},
	} {
		require.Error(t, refusal(&corev1.PersistentVolumeClaim{Spec: spec}))
	}
}
