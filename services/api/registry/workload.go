package registry

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

// scaleOf makes a scale subresource of where a kind keeps its replicas and selector.
func scaleOf[T Object](parts func(T) (spec **int32, status int32, selector *metav1.LabelSelector)) *Scale {
	return &Scale{
		Get: func(obj Object) (int32, int32, string) {
			spec, status, selector := parts(obj.(T))
			s, err := metav1.LabelSelectorAsSelector(selector)
			if err != nil {
				return deref(*spec), status, ""
			}
			return deref(*spec), status, s.String()
		},
		Set: func(obj Object, replicas int32) {
			spec, _, _ := parts(obj.(T))
			*spec = &replicas
		},
	}
}

// validateWorkloadTemplate checks the selector and the template of a kind that keeps pods running, p being its spec.
// set is how Kubernetes' texts call a controller of the kind.
func validateWorkloadTemplate(e *check.Errors, p *field.Path, set string, s *metav1.LabelSelector, t *corev1.PodTemplateSpec) {
	validateWorkloadSelector(e, p, set, s, t)
	podspec.ValidateTemplate(e, p.Child("template"), t)
	validateForever(e, p.Child("template", "spec"), set, &t.Spec)
}

// validateWorkloadSelector checks that the selector says something, and that it finds the template's pods.
func validateWorkloadSelector(e *check.Errors, p *field.Path, set string, s *metav1.LabelSelector, t *corev1.PodTemplateSpec) {
	at := p.Child("selector")
	if s == nil {
		if set != "DaemonSet" {
			e.Required(at, "")
		}
	} else {
		e.Selector(at, s)
		e.If(len(s.MatchLabels)+len(s.MatchExpressions) == 0, at, s, "empty selector is invalid for "+emptyFor[set])
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		// What is wrong with it was said above; the kinds differ in whether and how they say it again.
		switch set {
		case "DaemonSet":
		case "StatefulSet":
			e.Invalid(at, s, "")
		default:
			e.Invalid(at, s, "invalid label selector")
		}
		return
	}
	if !selector.Empty() && !selector.Matches(labels.Set(t.Labels)) {
		e.Invalid(p.Child("template", "metadata", "labels"), t.Labels, "`selector` does not match template `labels`")
	}
}

// emptyFor: a replica set's text speaks of a deployment.
var emptyFor = map[string]string{"ReplicaSet": "deployment", "StatefulSet": "statefulset", "DaemonSet": "daemonset"}

// validateForever checks that a template's pods run until they are told to stop.
func validateForever(e *check.Errors, p *field.Path, set string, spec *corev1.PodSpec) {
	check.Among(e, p.Child("restartPolicy"), spec.RestartPolicy, corev1.RestartPolicyAlways)
	if spec.ActiveDeadlineSeconds != nil {
		e.Forbidden(p.Child("activeDeadlineSeconds"), "activeDeadlineSeconds in "+set+" is not Supported")
	}
}

// templateWarnings warns of what is most likely not meant in a new or changed template.
func templateWarnings[T Object](template func(T) *corev1.PodTemplateSpec) func(obj, old T) []string {
	return func(obj, old T) []string {
		// The generation rises with every change of the spec; a nil old is a creation.
		if Object(old) != Object(*new(T)) && obj.GetGeneration() == old.GetGeneration() {
			return nil
		}
		return podspec.Warnings(field.NewPath("spec", "template", "spec"), &template(obj).Spec)
	}
}
