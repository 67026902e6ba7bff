package registry

import (
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func secret() *Kind {
	return define(Spec[*corev1.Secret]{
		GVK: core("Secret"), Resource: "secrets", Singular: "secret", Namespaced: true,
		New:     func() *corev1.Secret { return &corev1.Secret{} },
		NewList: func() runtime.Object { return &corev1.SecretList{} },
		Default: defaultSecret,
		PrepareUpdate: func(s, old *corev1.Secret) {
			if s.Type == "" {
				s.Type = old.Type
			}
		},
		Validate:       validateSecret,
		ValidateUpdate: validateSecretUpdate,
		Columns:        columns("Name|Type|Data#|Age"),
		Cells: func(s *corev1.Secret, now time.Time) []any {
			return []any{s.Name, string(s.Type), int64(len(s.Data)), age(s.CreationTimestamp, now)}
		},
		Fields: func(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} },
	})
}

// defaultSecret moves the write-only stringData to where it is stored.
func defaultSecret(s *corev1.Secret) {
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = make(map[string][]byte, len(s.StringData))
	}
	for k, v := range s.StringData {
		s.Data[k] = []byte(v)
	}
	s.StringData = nil
	if s.Type == "" {
		s.Type = corev1.SecretTypeOpaque
	}
}

// secretKeys are the keys that a type of secret must have, and how their value is checked.
var secretKeys = map[corev1.SecretType][]string{
	corev1.SecretTypeDockercfg:        {corev1.DockerConfigKey},
	corev1.SecretTypeDockerConfigJson: {corev1.DockerConfigJsonKey},
	corev1.SecretTypeSSHAuth:          {corev1.SSHAuthPrivateKey},
	corev1.SecretTypeTLS:              {corev1.TLSCertKey, corev1.TLSPrivateKeyKey},
}

func validateSecret(s *corev1.Secret) field.ErrorList {
	var e check.Errors
	size := 0
	data := field.NewPath("data")
	for _, key := range sorted(s.Data) {
		e.Messages(data.Key(key), key, validation.IsConfigMapKey(key))
		size += len(s.Data[key])
	}
	if size > corev1.MaxSecretSize {
		e.Add(field.TooLong(data, "", corev1.MaxSecretSize))
	}
	for _, key := range secretKeys[s.Type] {
		value, ok := s.Data[key]
		if !ok {
			e.Required(data.Key(key), "")
			continue
		}
		if s.Type == corev1.SecretTypeDockercfg || s.Type == corev1.SecretTypeDockerConfigJson {
			// The value stays out of the message: it holds passwords.
			if err := json.Unmarshal(value, &map[string]any{}); err != nil {
				e.Invalid(data.Key(key), "<secret contents redacted>", err.Error())
			}
		}
	}
	validateSecretKinds(&e, s, data)
	return e.List()
}

// validateSecretKinds checks the two types that are about more than the presence of keys.
func validateSecretKinds(e *check.Errors, s *corev1.Secret, data *field.Path) {
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			e.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), "")
		}
	case corev1.SecretTypeBasicAuth:
		_, user := s.Data[corev1.BasicAuthUsernameKey]
		_, password := s.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			e.Required(data.Key(corev1.BasicAuthUsernameKey), "")
			e.Required(data.Key(corev1.BasicAuthPasswordKey), "")
		}
	}
}

func validateSecretUpdate(s, old *corev1.Secret) field.ErrorList {
	var e check.Errors
	e.Immutable(field.NewPath("type"), s.Type, old.Type)
	if deref(old.Immutable) {
		if !deref(s.Immutable) {
			e.Forbidden(field.NewPath("immutable"), "field is immutable when `immutable` is set")
		}
		forbidChange(&e, field.NewPath("data"), s.Data, old.Data)
	}
	return e.List()
}

// forbidChange reports a change of a field whose object was declared immutable.
func forbidChange(e *check.Errors, p *field.Path, now, was any) {
	if !equality.Semantic.DeepEqual(now, was) {
		e.Forbidden(p, "field is immutable when `immutable` is set")
	}
}
