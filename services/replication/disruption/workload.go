package disruption

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/internal/informer"
)

// workloads are the kinds that say how many pods they have.
type workloads struct {
	deployments  *informer.Informer[*appsv1.Deployment]
	replicaSets  *informer.Informer[*appsv1.ReplicaSet]
	statefulSets *informer.Informer[*appsv1.StatefulSet]
	controllers  *informer.Informer[*corev1.ReplicationController]
}

// finders look a controller up, by the kind in the reference.
var finders = map[schema.GroupKind]func(workloads, string, *metav1.OwnerReference) (scale, bool){
	{Group: "apps", Kind: "ReplicaSet"}:        workloads.ofReplicaSet,
	{Group: "apps", Kind: "StatefulSet"}:       workloads.ofStatefulSet,
	{Group: "", Kind: "ReplicationController"}: workloads.ofReplicationController,
}

func groupKind(ref *metav1.OwnerReference) schema.GroupKind {
	return schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
}

// of returns the workload that a pod's controller stands for.
func (w workloads) of(p *corev1.Pod) (scale, bool) {
	ref := metav1.GetControllerOfNoCopy(p)
	if ref == nil {
		return scale{}, false
	}
	find, ok := finders[groupKind(ref)]
	if !ok {
		return scale{}, false
	}
	return find(w, p.Namespace, ref)
}

// ofReplicaSet asks the deployment where there is one: during a rollout it has several sets.
func (w workloads) ofReplicaSet(namespace string, ref *metav1.OwnerReference) (scale, bool) {
	rs, ok := w.replicaSets.Get(namespace, ref.Name)
	if !ok || rs.UID != ref.UID {
		return scale{}, false
	}
	up := metav1.GetControllerOfNoCopy(rs)
	if up == nil || groupKind(up) != (schema.GroupKind{Group: "apps", Kind: "Deployment"}) {
		return scale{rs.UID, replicas(rs.Spec.Replicas)}, true
	}
	d, ok := w.deployments.Get(namespace, up.Name)
	if !ok || d.UID != up.UID {
		return scale{}, false
	}
	return scale{d.UID, replicas(d.Spec.Replicas)}, true
}

func (w workloads) ofStatefulSet(namespace string, ref *metav1.OwnerReference) (scale, bool) {
	set, ok := w.statefulSets.Get(namespace, ref.Name)
	if !ok || set.UID != ref.UID {
		return scale{}, false
	}
	return scale{set.UID, replicas(set.Spec.Replicas)}, true
}

func (w workloads) ofReplicationController(namespace string, ref *metav1.OwnerReference) (scale, bool) {
	rc, ok := w.controllers.Get(namespace, ref.Name)
	if !ok || rc.UID != ref.UID {
		return scale{}, false
	}
	return scale{rc.UID, replicas(rc.Spec.Replicas)}, true
}

func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}
