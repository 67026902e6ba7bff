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

// declared is the one list of all kinds. The order of groups is Kubernetes': it decides which one a short name means that
// several have. A new kind is added here and in a file of its own.
func declared() []*Kind {
	events, autoscalers := event(), horizontalPodAutoscaler()
	return []*Kind{
		// core/v1
		binding(),
		componentStatus(),
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
		// events.k8s.io/v1
		eventOf(events),
		// authentication.k8s.io/v1, authorization.k8s.io/v1
		selfSubjectReview(),
		tokenReview(),
		localSubjectAccessReview(),
		selfSubjectAccessReview(),
		selfSubjectRulesReview(),
		subjectAccessReview(),
		// autoscaling/v2 and v1, batch/v1
		autoscalers,
		autoscalerV1(autoscalers),
		cronJob(),
		job(),
		// certificates.k8s.io/v1
		certificateSigningRequest(),
		clusterTrustBundle(),
		podCertificateRequest(),
		// networking.k8s.io/v1
		ingress(),
		ingressClass(),
		ipAddress(),
		networkPolicy(),
		serviceCIDR(),
		// policy/v1
		podDisruptionBudget(),
		// rbac.authorization.k8s.io/v1
		clusterRole(),
		clusterRoleBinding(),
		role(),
		roleBinding(),
		// storage.k8s.io/v1
		csiDriver(),
		csiNode(),
		csiStorageCapacity(),
		storageClass(),
		volumeAttachment(),
		volumeAttributesClass(),
		// admissionregistration.k8s.io/v1
		mutatingAdmissionPolicy(),
		mutatingAdmissionPolicyBinding(),
		mutatingWebhookConfiguration(),
		validatingAdmissionPolicy(),
		validatingAdmissionPolicyBinding(),
		validatingWebhookConfiguration(),
		// apiextensions.k8s.io/v1
		customResourceDefinition(),
		// apiregistration.k8s.io/v1
		apiService(),
		// scheduling.k8s.io/v1, coordination.k8s.io/v1, node.k8s.io/v1
		priorityClass(),
		lease(),
		runtimeClass(),
		// discovery.k8s.io/v1
		endpointSlice(),
		// resource.k8s.io/v1
		deviceClass(),
		deviceTaintRule(),
		resourceClaim(),
		resourceClaimTemplate(),
		resourceSlice(),
		// metrics.k8s.io/v1beta1
		nodeMetrics(),
		podMetrics(),
		// flowcontrol.apiserver.k8s.io/v1
		flowSchema(),
		priorityLevelConfiguration(),
		// storagemigration.k8s.io/v1
		storageVersionMigration(),
	}
}
