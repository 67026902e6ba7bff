package quota

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/registry"
)

func onMain(subresource string, _, _ registry.Object) bool { return subresource == "" }

var services = &evaluator{
	resource: corev1.Resource("services"),
	counts: func(name corev1.ResourceName) bool {
		return slices.Contains([]corev1.ResourceName{
			"count/services", corev1.ResourceServices, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
		}, name)
	},
	changes: onMain,
	usage: func(obj registry.Object, _ time.Time) corev1.ResourceList {
		spec := &obj.(*corev1.Service).Spec
		out := corev1.ResourceList{
			"count/services": one(), corev1.ResourceServices: one(),
			corev1.ResourceServicesNodePorts: count(nodePorts(spec)), corev1.ResourceServicesLoadBalancers: count(0),
		}
		if spec.Type == corev1.ServiceTypeLoadBalancer {
			out[corev1.ResourceServicesLoadBalancers] = one()
		}
		return out
	},
}

// nodePorts is how many node ports a Service has, or will have once they are given.
func nodePorts(spec *corev1.ServiceSpec) int {
	switch {
	case spec.Type == corev1.ServiceTypeNodePort:
		return len(spec.Ports)
	case spec.Type != corev1.ServiceTypeLoadBalancer:
		return 0
	case spec.AllocateLoadBalancerNodePorts == nil || *spec.AllocateLoadBalancerNodePorts:
		return len(spec.Ports)
	}
	n := 0
	for _, p := range spec.Ports {
		if p.NodePort != 0 {
			n++
		}
	}
	return n
}

// classSuffix stands between a storage class and the resource of it that is limited.
const classSuffix = ".storageclass.storage.k8s.io/"

var claims = &evaluator{
	resource: corev1.Resource("persistentvolumeclaims"),
	counts: func(name corev1.ResourceName) bool {
		if _, of, ok := strings.Cut(string(name), classSuffix); ok {
			name = corev1.ResourceName(of)
			return name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
		}
		return name == "count/persistentvolumeclaims" || name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
	},
	usage: func(obj registry.Object, _ time.Time) corev1.ResourceList {
		return claimUsage(obj.(*corev1.PersistentVolumeClaim))
	},
	changes: func(subresource string, obj, old registry.Object) bool {
		return subresource == "" || subresource == "status"
	},
	trait: func(obj registry.Object) string {
		return strings.Join(attributesClasses(obj.(*corev1.PersistentVolumeClaim)), ",")
	},
	inScope: func(s corev1.ScopedResourceSelectorRequirement, obj registry.Object) bool {
		return s.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass && selects(s, attributesClasses(obj.(*corev1.PersistentVolumeClaim))...)
	},
}

func claimUsage(claim *corev1.PersistentVolumeClaim) corev1.ResourceList {
	out := corev1.ResourceList{"count/persistentvolumeclaims": one(), corev1.ResourcePersistentVolumeClaims: one()}
	if q, ok := claimSize(claim); ok {
		out[corev1.ResourceRequestsStorage] = q
	}
	class, named := claim.Annotations[corev1.BetaStorageClassAnnotation]
	if !named && claim.Spec.StorageClassName != nil {
		class = *claim.Spec.StorageClassName
	}
	if class == "" {
		return out
	}
	for _, name := range []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage} {
		if q, ok := out[name]; ok {
			out[corev1.ResourceName(class+classSuffix)+name] = q
		}
	}
	return out
}

// claimSize is what a claim asks for, or what has been set aside for it already when that is more; in whole bytes.
func claimSize(claim *corev1.PersistentVolumeClaim) (resource.Quantity, bool) {
	q, ok := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return q, false
	}
	if set, ok := claim.Status.AllocatedResources[corev1.ResourceStorage]; ok && set.Cmp(q) > 0 {
		q = set
	}
	q = q.DeepCopy()
	q.RoundUp(0)
	return q, true
}

// attributesClasses are the classes that a claim has, gets, or is getting.
func attributesClasses(claim *corev1.PersistentVolumeClaim) []string {
	var out []string
	for _, name := range []*string{claim.Spec.VolumeAttributesClassName, claim.Status.CurrentVolumeAttributesClassName} {
		if name != nil && *name != "" {
			out = append(out, *name)
		}
	}
	if m := claim.Status.ModifyVolumeStatus; m != nil && m.TargetVolumeAttributesClassName != "" {
		out = append(out, m.TargetVolumeAttributesClassName)
	}
	return out
}

var deviceClaims = &evaluator{
	resource: schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceclaims"},
	counts: func(name corev1.ResourceName) bool {
		return name == deviceClaimCount || strings.HasSuffix(string(name), corev1.ResourceClaimsPerClass)
	},
	changes: onMain,
	usage: func(obj registry.Object, _ time.Time) corev1.ResourceList {
		out := corev1.ResourceList{deviceClaimCount: one()}
		add := func(class string, n int64) {
			name := corev1.ResourceName(class + corev1.ResourceClaimsPerClass)
			sum := out[name]
			sum.Add(*resource.NewQuantity(n, resource.DecimalSI))
			out[name] = sum
		}
		for _, r := range obj.(*resourcev1.ResourceClaim).Spec.Devices.Requests {
			if r.Exactly != nil {
				add(r.Exactly.DeviceClassName, devices(r.Exactly.AllocationMode, r.Exactly.Count))
				continue
			}
			// Of alternatives it will be one: the most that each class may have to give.
			most := map[string]int64{}
			for _, sub := range r.FirstAvailable {
				most[sub.DeviceClassName] = max(most[sub.DeviceClassName], devices(sub.AllocationMode, sub.Count))
			}
			for class, n := range most {
				add(class, n)
			}
		}
		return out
	},
}

const deviceClaimCount corev1.ResourceName = "count/resourceclaims." + resourcev1.GroupName

// devices is how many devices a request may get.
func devices(mode resourcev1.DeviceAllocationMode, n int64) int64 {
	switch mode {
	case resourcev1.DeviceAllocationModeExactCount:
		return n
	case resourcev1.DeviceAllocationModeAll:
		return resourcev1.AllocationResultsMaxSize
	}
	return 0
}
