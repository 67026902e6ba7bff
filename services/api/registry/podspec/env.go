package podspec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func (s *scope) validateEnv(p *field.Path, env []corev1.EnvVar) {
	for i := range env {
		v, at := &env[i], p.Index(i)
		if s.NotEmpty(at.Child("name"), v.Name) {
			s.Messages(at.Child("name"), v.Name, validation.IsRelaxedEnvVarName(v.Name))
		}
		if v.ValueFrom != nil {
			s.validateEnvSource(at.Child("valueFrom"), v)
		}
	}
}

func (s *scope) validateEnvSource(p *field.Path, v *corev1.EnvVar) {
	sources := 0
	if r := v.ValueFrom.FieldRef; r != nil {
		sources++
		s.validateFieldRef(p.Child("fieldRef"), r, envFields)
	}
	if r := v.ValueFrom.ResourceFieldRef; r != nil {
		sources++
		s.validateResourceRef(p.Child("resourceFieldRef"), r, false)
	}
	if r := v.ValueFrom.ConfigMapKeyRef; r != nil {
		sources++
		s.validateKey(p.Child("configMapKeyRef"), r.Name, r.Key)
	}
	if r := v.ValueFrom.SecretKeyRef; r != nil {
		sources++
		s.validateKey(p.Child("secretKeyRef"), r.Name, r.Key)
	}
	if r := v.ValueFrom.FileKeyRef; r != nil {
		sources++
		s.validateFileKey(p.Child("fileKeyRef"), r)
	}
	switch {
	case sources == 0:
		s.Invalid(p, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`")
	case v.Value != "":
		s.Invalid(p, "", "may not be specified when `value` is not empty")
	case sources > 1:
		s.Invalid(p, "", "may not have more than one field specified at a time")
	}
}

func (s *scope) validateKey(p *field.Path, name, key string) {
	s.NotEmpty(p.Child("name"), name)
	if s.NotEmpty(p.Child("key"), key) {
		s.Messages(p.Child("key"), key, validation.IsConfigMapKey(key))
	}
}

func (s *scope) validateFileKey(p *field.Path, r *corev1.FileKeySelector) {
	if s.NotEmpty(p.Child("key"), r.Key) {
		s.Messages(p.Child("key"), r.Key, validation.IsRelaxedEnvVarName(r.Key))
	}
	if s.NotEmpty(p.Child("volumeName"), r.VolumeName) {
		if v := s.volumes[r.VolumeName]; v == nil {
			s.Add(field.NotFound(p.Child("volumeName"), r.VolumeName))
		} else if v.EmptyDir == nil {
			s.Invalid(p.Child("volumeName"), r.VolumeName, "referenced volume must be of type `emptyDir`")
		}
	}
	if s.NotEmpty(p.Child("path"), r.Path) {
		s.reservedPath(p.Child("path"), r.Path)
	}
}

func (s *scope) validateEnvFrom(p *field.Path, sources []corev1.EnvFromSource) {
	for i := range sources {
		f, at := &sources[i], p.Index(i)
		if f.Prefix != "" {
			s.Messages(at.Child("prefix"), f.Prefix, validation.IsRelaxedEnvVarName(f.Prefix))
		}
		count := 0
		if f.ConfigMapRef != nil {
			count++
			s.NotEmpty(at.Child("configMapRef", "name"), f.ConfigMapRef.Name)
		}
		if f.SecretRef != nil {
			count++
			s.NotEmpty(at.Child("secretRef", "name"), f.SecretRef.Name)
		}
		switch count {
		case 0:
			s.Invalid(at, "", "must specify one of: `configMapRef` or `secretRef`")
		case 2:
			s.Invalid(at, "", "may not have more than one field specified at a time")
		}
	}
}

// The fields of a pod that it may be told.
var (
	envFields = []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
	fileFields = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
	// knownFields are those that have the form of a field; which are allowed depends on the place.
	knownFields = append([]string{"metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase", "status.nominatedNodeName"}, envFields...)
)

func (s *scope) validateFieldRef(p *field.Path, r *corev1.ObjectFieldSelector, allowed []string) {
	if !s.NotEmpty(p.Child("apiVersion"), r.APIVersion) {
		return
	}
	at := p.Child("fieldPath")
	if !s.NotEmpty(at, r.FieldPath) {
		return
	}
	name, key, keyed := strings.Cut(r.FieldPath, "['")
	key, closed := strings.CutSuffix(key, "']")
	keyed = keyed && closed
	switch {
	case r.APIVersion != "v1":
		s.Invalid(at, r.FieldPath, "error converting fieldPath: unsupported pod version: "+r.APIVersion)
	case keyed && name == "metadata.annotations":
		s.Messages(at, key, validation.IsQualifiedName(strings.ToLower(key)))
	case keyed && name == "metadata.labels":
		s.Messages(at, key, validation.IsQualifiedName(key))
	case keyed && slices.Contains(knownFields, name):
		s.Invalid(at, name, "does not support subscript")
	case !slices.Contains(knownFields, r.FieldPath):
		s.Invalid(at, r.FieldPath, "error converting fieldPath: field label not supported: "+r.FieldPath)
	default:
		check.Among(s.Errors, at, r.FieldPath, allowed...)
	}
}

// resourceFields are the amounts that a container may be told.
var resourceFields = []string{"limits.cpu", "limits.ephemeral-storage", "limits.memory",
	"requests.cpu", "requests.ephemeral-storage", "requests.memory"}

// divisors are the units in which they may be told.
var divisors = map[string][]string{
	"cpu":     {"1m", "1"},
	"memory":  {"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"},
	"storage": {"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"},
}

// validateResourceRef checks a resource field; in a volume it must say whose.
func (s *scope) validateResourceRef(p *field.Path, r *corev1.ResourceFieldSelector, inVolume bool) {
	switch huge := strings.HasPrefix(r.Resource, "limits.hugepages-") || strings.HasPrefix(r.Resource, "requests.hugepages-"); {
	case inVolume && r.ContainerName == "":
		s.Required(p.Child("containerName"), "")
	case r.Resource == "":
		s.Required(p.Child("resource"), "")
	case !huge && !check.Among(s.Errors, p.Child("resource"), r.Resource, resourceFields...):
		return
	}
	if r.Divisor.Cmp(resource.Quantity{}) == 0 {
		return
	}
	_, name, _ := strings.Cut(r.Resource, ".")
	units := divisors["memory"]
	if name == "cpu" {
		units = divisors["cpu"]
	}
	if !slices.Contains(units, r.Divisor.String()) {
		s.Invalid(p.Child("divisor"), name, fmt.Sprintf("only divisor's values %s are supported with the %s resource", listed(units), name))
	}
}

// listed reads "a, b and c".
func listed(items []string) string {
	if len(items) == 2 {
		return items[0] + " and " + items[1]
	}
	return strings.Join(items, ", ")
}
