package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var gvkNode = corev1.SchemeGroupVersion.WithKind("Node")

// TopologyLabels are the labels of its node that a pod gets, when it is bound or when it is created on the node.
var TopologyLabels = []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion}

// topologyLabels labels pods that are created with a node by where that is.
type topologyLabels struct{ Reader }

// Admit implements Plugin.
func (p topologyLabels) Admit(ctx context.Context, a *Attributes) error {
	if a.Operation != Create || !a.Is("", "Pod") {
		return nil
	}
	pod := a.Object.(*corev1.Pod)
	if pod.Spec.NodeName == "" {
		return nil
	}
	node, err := p.Read(ctx, gvkNode, "", pod.Spec.NodeName)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, key := range TopologyLabels {
		if value, ok := node.GetLabels()[key]; ok {
			metav1.SetMetaDataLabel(&pod.ObjectMeta, key, value)
		}
	}
	return nil
}
