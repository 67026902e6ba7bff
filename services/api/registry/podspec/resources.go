package podspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// CheckResource reports a name that no resource can have and an amount that the resource cannot have.
func CheckResource(e *check.Errors, p *field.Path, name corev1.ResourceName, q resource.Quantity) {
	checkResourceName(e, p, name)
	CheckQuantity(e, p, name, q)
}

// CheckQuantity reports amounts below zero, and fractions of what comes in whole pieces.
func CheckQuantity(e *check.Errors, p *field.Path, name corev1.ResourceName, q resource.Quantity) {
	if q.Sign() < 0 {
		e.Invalid(p, q.String(), "must be greater than or equal to 0")
	}
	if isInteger(name) && q.MilliValue()%1000 != 0 {
		e.Invalid(p, q, "must be an integer")
	}
}

func checkResourceName(e *check.Errors, p *field.Path, name corev1.ResourceName) {
	if msgs := validation.IsQualifiedName(string(name)); len(msgs) > 0 {
		e.Messages(p, name, msgs)
		return
	}
	if !strings.Contains(string(name), "/") && !standard(name) {
		e.Invalid(p, name, "must be a standard resource type or fully qualified")
	}
}

func standard(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourceStorage, corev1.ResourcePods,
		corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
		corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceQuotas, corev1.ResourceSecrets,
		corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
		corev1.ResourceRequestsStorage:
		return true
	}
	return isHugePage(name) || strings.HasPrefix(string(name), "requests."+corev1.ResourceHugePagesPrefix)
}

// isInteger: these are counted, not measured.
func isInteger(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceSecrets,
		corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers:
		return true
	}
	return isExtended(name)
}

// isNative: the names that Kubernetes itself owns.
func isNative(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// isExtended: resources that devices and administrators announce.
func isExtended(name corev1.ResourceName) bool {
	if isNative(name) || strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

func isHugePage(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}
