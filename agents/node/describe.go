package node

import (
	"cmp"
	"maps"
	goruntime "runtime"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/node/machine"
	"karve.dev/karve/agents/node/runtime"
	nodevolume "karve.dev/karve/agents/node/volume"
	"karve.dev/karve/internal/volume"
)

// Bounds of the Node's list of images, as by a kubelet's defaults.
const (
	maxImages     = 50
	maxImageNames = 5
)

// describe is the Node as it is wanted at start.
func (a *Agent) describe() *corev1.Node {
	labels := map[string]string{
		corev1.LabelHostname: a.cfg.NodeName, corev1.LabelOSStable: goruntime.GOOS, corev1.LabelArchStable: goruntime.GOARCH,
		"beta.kubernetes.io/os": goruntime.GOOS, "beta.kubernetes.io/arch": goruntime.GOARCH,
	}
	maps.Copy(labels, a.cfg.Labels)
	capacity := machine.Capacity(a.cfg.DataDir)
	allocatable := capacity.DeepCopy()
	for name, reserved := range a.cfg.Eviction.Reserved(capacity) {
		left := allocatable[name]
		left.Sub(reserved)
		allocatable[name] = left
	}
	for _, set := range machine.HugePages(capacity) { // nobody else can use that memory
		left := allocatable[corev1.ResourceMemory]
		left.Sub(set)
		allocatable[corev1.ResourceMemory] = left
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: a.cfg.NodeName, Labels: labels, Annotations: map[string]string{volume.FoldersAnnotation: volumesDir(a.cfg.DataDir)}},
		Status: corev1.NodeStatus{
			Capacity: capacity, Allocatable: allocatable, Addresses: a.cfg.Addresses, NodeInfo: machine.Info(),
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(a.Port())}},
		},
	}
	node.Status.NodeInfo.ContainerRuntimeVersion = "docker://unknown"
	node.Status.Conditions = a.conditions()
	node.Status.DeclaredFeatures = []string{"InPlacePodVerticalScalingInitContainers", "RestartAllContainersOnContainerExits"}
	node.Status.Features = &corev1.NodeFeatures{SupplementalGroupsPolicy: new(true)}
	return node
}

// describeHandlers lists what RuntimeClasses may name, after the default, which has no name.
func describeHandlers(names []string) []corev1.NodeRuntimeHandler {
	if len(names) == 0 {
		return nil
	}
	var out []corev1.NodeRuntimeHandler
	for _, name := range append([]string{""}, names...) {
		out = append(out, corev1.NodeRuntimeHandler{Name: name, Features: &corev1.NodeRuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: new(nodevolume.RecursiveReadOnlyPossible()), UserNamespaces: new(false),
		}})
	}
	return out
}

// describeImages lists the largest images.
func describeImages(images []runtime.Image) []corev1.ContainerImage {
	images = slices.Clone(images)
	slices.SortFunc(images, func(x, y runtime.Image) int {
		return cmp.Or(cmp.Compare(y.Size, x.Size), cmp.Compare(x.ID, y.ID))
	})
	var out []corev1.ContainerImage
	for _, image := range images {
		var names []string
		for _, name := range append(slices.Sorted(slices.Values(image.Digests)), slices.Sorted(slices.Values(image.Names))...) {
			if name != "<none>:<none>" && name != "<none>@<none>" && len(names) < maxImageNames {
				names = append(names, name)
			}
		}
		if len(names) == 0 {
			continue
		}
		if out = append(out, corev1.ContainerImage{Names: names, SizeBytes: image.Size}); len(out) == maxImages {
			break
		}
	}
	return out
}
