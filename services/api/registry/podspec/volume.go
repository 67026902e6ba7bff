package podspec

import (
	"fmt"
	"path"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

const badMode = "must be a number between 0 and 0777 (octal), both inclusive"

// validateVolumes checks the pod's volumes and remembers them for the containers' mounts.
func (s *scope) validateVolumes(p *field.Path) {
	s.volumes = make(map[string]*corev1.VolumeSource, len(s.spec.Volumes))
	for i := range s.spec.Volumes {
		v, at := &s.spec.Volumes[i], p.Index(i)
		s.validateVolumeSource(at, &v.VolumeSource)
		s.validateEphemeralClaim(at.Child("name"), v)
		ok := s.NotEmpty(at.Child("name"), v.Name)
		if ok {
			msgs := utilvalidation.IsDNS1123Label(v.Name)
			s.Messages(at.Child("name"), v.Name, msgs)
			ok = len(msgs) == 0
		}
		if s.volumes[v.Name] != nil {
			s.Duplicate(at.Child("name"), v.Name)
			ok = false
		}
		if ok {
			s.volumes[v.Name] = &v.VolumeSource
		}
	}
}

// validateEphemeralClaim checks the name that the claim of a pod's ephemeral volume will get.
func (s *scope) validateEphemeralClaim(p *field.Path, v *corev1.Volume) {
	if v.Ephemeral == nil || s.pod == "" || v.Name == "" {
		return
	}
	claim := s.pod + "-" + v.Name
	for _, msg := range validation.NameIsDNSSubdomain(claim, false) {
		s.Invalid(p, v.Name, fmt.Sprintf("PVC name %q: %v", claim, msg))
	}
}

// validateVolumeSource wants exactly one source, and that one right.
func (s *scope) validateVolumeSource(p *field.Path, v *corev1.VolumeSource) {
	count := 0
	// The fields of a volume source are pointers, of which one is set; their JSON names are in the type.
	value := reflect.ValueOf(v).Elem()
	for i := range value.NumField() {
		if value.Field(i).IsNil() {
			continue
		}
		at := p.Child(jsonName(value.Type().Field(i)))
		if count++; count > 1 {
			s.Forbidden(at, "may not specify more than 1 volume type")
			continue
		}
		s.validateOneSource(at, value.Field(i).Interface())
	}
	if count == 0 {
		s.Required(p, "must specify a volume type")
	}
}

func (s *scope) validateOneSource(p *field.Path, source any) {
	switch v := source.(type) {
	case *corev1.HostPathVolumeSource:
		ValidateHostPath(s.Errors, p, v)
	case *corev1.EmptyDirVolumeSource:
		if v.SizeLimit != nil && v.SizeLimit.Sign() < 0 {
			s.Forbidden(p.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")
		}
	case *corev1.SecretVolumeSource:
		s.NotEmpty(p.Child("secretName"), v.SecretName)
		s.validateMode(p.Child("defaultMode"), v.DefaultMode)
		s.validateItems(p.Child("items"), v.Items)
	case *corev1.ConfigMapVolumeSource:
		s.NotEmpty(p.Child("name"), v.Name)
		s.validateMode(p.Child("defaultMode"), v.DefaultMode)
		s.validateItems(p.Child("items"), v.Items)
	case *corev1.PersistentVolumeClaimVolumeSource:
		s.NotEmpty(p.Child("claimName"), v.ClaimName)
	case *corev1.DownwardAPIVolumeSource:
		s.validateMode(p.Child("defaultMode"), v.DefaultMode)
		s.validateDownwardItems(p, v.Items)
	case *corev1.ProjectedVolumeSource:
		s.validateProjected(p, v)
	case *corev1.EphemeralVolumeSource:
		if v.VolumeClaimTemplate == nil {
			s.Required(p.Child("volumeClaimTemplate"), "")
			return
		}
		ValidateClaim(s.Errors, p.Child("volumeClaimTemplate", "spec"), &v.VolumeClaimTemplate.Spec)
	case *corev1.ImageVolumeSource:
		s.NotEmpty(p.Child("reference"), v.Reference)
		check.OneOf(s.Errors, p.Child("pullPolicy"), v.PullPolicy, pullPolicies...)
	case *corev1.CSIVolumeSource:
		ValidateDriverName(s.Errors, p.Child("driver"), v.Driver)
		if ref := v.NodePublishSecretRef; ref != nil {
			s.NotEmpty(p.Child("nodePublishSecretRef", "name"), ref.Name)
		}
	default:
		ValidateRemoteVolume(s.Errors, p, source)
	}
}

var hostPathTypes = []corev1.HostPathType{"", corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory,
	corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket}

// ValidateHostPath reports what is wrong with a path of the machine.
func ValidateHostPath(e *check.Errors, p *field.Path, v *corev1.HostPathVolumeSource) {
	if e.NotEmpty(p.Child("path"), v.Path) {
		(&scope{Errors: e}).noBacksteps(p.Child("path"), v.Path)
	}
	if v.Type != nil {
		check.Among(e, p.Child("type"), *v.Type, hostPathTypes...)
	}
}

// ValidateDriverName reports what is no name of a CSI driver.
func ValidateDriverName(e *check.Errors, p *field.Path, name string) {
	const longest = 63
	if !e.NotEmpty(p, name) {
		return
	}
	if len(name) > longest {
		e.Add(field.TooLong(p, name, longest))
	}
	e.Messages(p, name, utilvalidation.IsDNS1123Subdomain(strings.ToLower(name)))
}

func (s *scope) validateMode(p *field.Path, mode *int32) {
	if mode != nil && (*mode < 0 || *mode > 0o777) {
		s.Invalid(p, *mode, badMode)
	}
}

func (s *scope) validateItems(p *field.Path, items []corev1.KeyToPath) {
	for i := range items {
		k, at := &items[i], p.Index(i)
		s.NotEmpty(at.Child("key"), k.Key)
		if s.NotEmpty(at.Child("path"), k.Path) {
			s.reservedPath(at.Child("path"), k.Path)
		}
		s.validateMode(at.Child("mode"), k.Mode)
	}
}

// validateDownwardItems checks the files; Kubernetes' paths do not say which, p being the source's.
func (s *scope) validateDownwardItems(p *field.Path, items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		f := &items[i]
		if s.NotEmpty(p.Child("path"), f.Path) {
			s.reservedPath(p.Child("path"), f.Path)
		}
		switch {
		case f.FieldRef != nil:
			s.validateFieldRef(p.Child("fieldRef"), f.FieldRef, fileFields)
			if f.ResourceFieldRef != nil {
				s.Invalid(p, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
			}
		case f.ResourceFieldRef != nil:
			s.validateResourceRef(p.Child("resourceFieldRef"), f.ResourceFieldRef, true)
		default:
			s.Required(p, "one of fieldRef and resourceFieldRef is required")
		}
		s.validateMode(p.Child("mode"), f.Mode)
	}
}

func (s *scope) validateProjected(p *field.Path, v *corev1.ProjectedVolumeSource) {
	s.validateMode(p.Child("defaultMode"), v.DefaultMode)
	paths := map[string]bool{}
	for i := range v.Sources {
		s.validateProjection(p.Child("sources").Index(i), &v.Sources[i], paths)
	}
}

// validateProjection checks one source of a projected volume; paths are those of the ones before.
func (s *scope) validateProjection(p *field.Path, v *corev1.VolumeProjection, paths map[string]bool) {
	count := 0
	one := func(set bool, name string, validate func(at *field.Path)) {
		if !set {
			return
		}
		if count++; count > 1 {
			s.Forbidden(p.Child(name), "may not specify more than 1 volume type per source")
			return
		}
		validate(p.Child(name))
	}
	place := func(at *field.Path, file, of string) {
		file = path.Clean(file)
		s.If(paths[file], at, of, "conflicting duplicate paths")
		paths[file] = true
	}
	items := func(at *field.Path, name string, items []corev1.KeyToPath) {
		s.NotEmpty(at.Child("name"), name)
		s.validateItems(at.Child("items"), items)
		for i := range items {
			place(at, items[i].Path, name)
		}
	}
	one(v.Secret != nil, "secret", func(at *field.Path) { items(at, v.Secret.Name, v.Secret.Items) })
	one(v.ConfigMap != nil, "configMap", func(at *field.Path) { items(at, v.ConfigMap.Name, v.ConfigMap.Items) })
	one(v.DownwardAPI != nil, "downwardAPI", func(at *field.Path) {
		s.validateDownwardItems(at, v.DownwardAPI.Items)
		for i := range v.DownwardAPI.Items {
			place(at, v.DownwardAPI.Items[i].Path, v.DownwardAPI.Items[i].Path)
		}
	})
	one(v.ServiceAccountToken != nil, "serviceAccountToken", func(at *field.Path) { s.validateToken(at, v.ServiceAccountToken, place) })
	one(v.ClusterTrustBundle != nil, "clusterTrustBundle", func(at *field.Path) { s.validateBundle(at, v.ClusterTrustBundle) })
	one(v.PodCertificate != nil, "podCertificate", func(at *field.Path) { s.NotEmpty(at.Child("signerName"), v.PodCertificate.SignerName) })
	if count == 0 {
		s.Required(p, "may not specify more than 1 volume type per source")
	}
}

func (s *scope) validateToken(p *field.Path, t *corev1.ServiceAccountTokenProjection, place func(*field.Path, string, string)) {
	const shortest, longest = 10 * 60, 1 << 32
	if seconds := t.ExpirationSeconds; seconds != nil {
		s.If(*seconds < shortest, p.Child("expirationSeconds"), *seconds, "may not specify a duration less than 10 minutes")
		s.If(*seconds > longest, p.Child("expirationSeconds"), *seconds, "may not specify a duration larger than 2^32 seconds")
	}
	if s.NotEmpty(p.Child("path"), t.Path) {
		s.reservedPath(p.Child("path"), t.Path)
		place(p, t.Path, t.Path)
	}
}

func (s *scope) validateBundle(p *field.Path, b *corev1.ClusterTrustBundleProjection) {
	switch named, signed := b.Name != nil, b.SignerName != nil; {
	case named && signed:
		s.Invalid(p, b, "only one of name and signerName may be used")
	case !named && !signed:
		s.Required(p, "either name or signerName must be specified")
	case named && *b.Name != "":
		s.Messages(p.Child("name"), *b.Name, validation.NameIsDNSSubdomain(*b.Name, false))
	}
	if s.NotEmpty(p.Child("path"), b.Path) {
		s.reservedPath(p.Child("path"), b.Path)
	}
}
