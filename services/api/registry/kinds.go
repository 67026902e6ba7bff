package registry

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// All returns every served kind in the order that discovery lists them. The slice and what it points to are shared:
// callers must not change them.
func All() []*Kind { return catalog().kinds }

// Lookup finds a kind by group, version and kind.
func Lookup(gvk schema.GroupVersionKind) (*Kind, bool) {
	k, ok := catalog().byKind[gvk]
	return k, ok
}

// LookupResource finds a kind by its lower-case plural.
func LookupResource(group, version, resource string) (*Kind, bool) {
	k, ok := catalog().byResource[schema.GroupVersionResource{Group: group, Version: version, Resource: resource}]
	return k, ok
}

type index struct {
	kinds      []*Kind
	byKind     map[schema.GroupVersionKind]*Kind
	byResource map[schema.GroupVersionResource]*Kind
}

// catalog builds the declarations once, when somebody first asks, so that importing the package costs nothing.
var catalog = sync.OnceValue(func() index {
	i := index{kinds: declared(), byKind: map[schema.GroupVersionKind]*Kind{}, byResource: map[schema.GroupVersionResource]*Kind{}}
	for _, k := range i.kinds {
		i.byKind[k.GroupVersionKind] = k
		i.byResource[k.GroupVersion().WithResource(k.Resource)] = k
	}
	return i
})

// declared is the one list of all kinds. A new kind is added here and in a file of its own.
func declared() []*Kind {
	events, autoscalers := event(), horizontalPodAutoscaler()
	return []*Kind{
		// core/v1
		binding(),
		configMap(),
		endpoints(),
		events,
		limitRange(),
		namespace(),
		node(),
		persistentVolume(),
		persistentVolumeClaim(),
		pod(),
		podTemplate(),
		replicationController(),
		resourceQuota(),
		secret(),
		service(),
		serviceAccount(),
		// apps/v1
		controllerRevision(),
		daemonSet(),
		deployment(),
		replicaSet(),
		statefulSet(),
		// batch/v1, autoscaling/v2 and v1, policy/v1
		cronJob(),
		job(),
		autoscalers,
		autoscalerV1(autoscalers),
		podDisruptionBudget(),
		// coordination.k8s.io/v1, discovery.k8s.io/v1
		lease(),
		endpointSlice(),
		// events.k8s.io/v1
		eventOf(events),
		// networking.k8s.io/v1
		ingress(),
		ingressClass(),
		ipAddress(),
		networkPolicy(),
		serviceCIDR(),
		// rbac.authorization.k8s.io/v1
		clusterRole(),
		clusterRoleBinding(),
		role(),
		roleBinding(),
		// authentication.k8s.io/v1, authorization.k8s.io/v1
		selfSubjectReview(),
		tokenReview(),
		localSubjectAccessReview(),
		selfSubjectAccessReview(),
		selfSubjectRulesReview(),
		subjectAccessReview(),
		// storage.k8s.io/v1
		csiDriver(),
		csiNode(),
		csiStorageCapacity(),
		storageClass(),
		volumeAttachment(),
		volumeAttributesClass(),
		// scheduling.k8s.io/v1, node.k8s.io/v1
		priorityClass(),
		runtimeClass(),
		// certificates.k8s.io/v1
		certificateSigningRequest(),
		clusterTrustBundle(),
		podCertificateRequest(),
		// admissionregistration.k8s.io/v1
		mutatingAdmissionPolicy(),
		mutatingAdmissionPolicyBinding(),
		mutatingWebhookConfiguration(),
		validatingAdmissionPolicy(),
		validatingAdmissionPolicyBinding(),
		validatingWebhookConfiguration(),
		// apiextensions.k8s.io/v1
		customResourceDefinition(),
		// flowcontrol.apiserver.k8s.io/v1
		flowSchema(),
		priorityLevelConfiguration(),
		// resource.k8s.io/v1
		deviceClass(),
		deviceTaintRule(),
		resourceClaim(),
		resourceClaimTemplate(),
		resourceSlice(),
	}
}
