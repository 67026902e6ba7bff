package worker

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/image"
	"karve.dev/karve/agents/node/podstate"
)

// Who corrects an image does not wait for the back-off of the one that could not be had.
func TestACorrectedImageIsTriedAtOnce(t *testing.T) {
	trouble := func(of string) podstate.Trouble {
		return podstate.Trouble{Reason: image.ImagePullBackOff, Image: of}
	}
	w := &worker{
		pod: &corev1.Pod{Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "corrected", Image: "app:v2"}, {Name: "still", Image: "ap:v2"}, {Name: "volume", Image: "app:v2"}},
			Volumes:    []corev1.Volume{{Name: "files", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "files:v1"}}}},
		}},
		failures: map[string]int{"corrected": 5, "still": 5, "volume": 5},
	}
	w.obs.Trouble = map[string]podstate.Trouble{"corrected": trouble("ap:v2"), "still": trouble("ap:v2"), "volume": trouble("files:v1")}
	w.forgetOtherImages()
	require.NotContains(t, w.obs.Trouble, "corrected")
	require.NotContains(t, w.failures, "corrected")
	require.Contains(t, w.obs.Trouble, "still")
	require.Contains(t, w.obs.Trouble, "volume")
}
