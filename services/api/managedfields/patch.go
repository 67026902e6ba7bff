package managedfields

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	sigsjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"karve.dev/karve/services/api/registry"
)

// Patch is what an apply wants an object to be: the fields that the writer has an opinion on.
type Patch struct{ object *unstructured.Unstructured }

// ParsePatch reads a patch in YAML or JSON. Found tells what a strict reader would refuse: fields that are there twice.
func ParsePatch(data []byte) (p *Patch, found []error, err error) {
	var content map[string]any
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(trimmed) {
		found, err = sigsjson.UnmarshalStrict(trimmed, &content)
	} else if err = unmarshalYAML(data, &content); err == nil {
		if e := yaml.UnmarshalStrict(data, &map[string]any{}); e != nil {
			found = []error{e}
		}
	}
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	if content == nil {
		content = map[string]any{}
	}
	if err := checkMetadata(content); err != nil {
		return nil, nil, err
	}
	return &Patch{&unstructured.Unstructured{Object: content}}, found, nil
}

// unmarshalYAML keeps whole numbers whole.
func unmarshalYAML(data []byte, into *map[string]any) error {
	asJSON, err := yaml.YAMLToJSON(data)
	if err != nil {
		return err
	}
	return sigsjson.UnmarshalCaseSensitivePreserveInts(asJSON, into)
}

// checkMetadata refuses metadata that is none: the accessors of a plain map hide it.
func checkMetadata(content map[string]any) error {
	if m, given := content["metadata"]; given && m != nil {
		if _, ok := m.(map[string]any); !ok {
			return apierrors.NewBadRequest(fmt.Sprintf("metadata is not an object but %T", m))
		}
	}
	return nil
}

// UID is the one that the patch is for; empty when it does not say.
func (p *Patch) UID() types.UID { return p.object.GetUID() }

// ResourceVersion is the one that the patch is for; empty when it does not say.
func (p *Patch) ResourceVersion() string { return p.object.GetResourceVersion() }

// Options checks the options that only an apply has, as Kubernetes does.
func Options(manager string, force bool) error {
	options := &metav1.PatchOptions{FieldManager: manager, Force: &force}
	errs := validation.ValidatePatchOptions(options, types.ApplyPatchType)
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "PatchOptions"}, "", errs)
}

// scaleKind is what a patch of a scale subresource is.
var scaleKind = schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}

// OfScaled turns the patch of a Scale into one of the object of kind k that is scaled.
func (p *Patch) OfScaled(k *registry.Kind) (*Patch, error) {
	if said := p.object.GroupVersionKind(); said != scaleKind {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid object type: %v", said))
	}
	content := map[string]any{"apiVersion": k.GroupVersion().String(), "kind": k.Kind}
	if m, ok := p.object.Object["metadata"]; ok {
		content["metadata"] = m
	}
	replicas, given, err := unstructured.NestedFieldNoCopy(p.object.Object, "spec", "replicas")
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if given {
		if n, err := count(replicas); err != nil || n < 0 {
			bad := field.Invalid(field.NewPath("spec", "replicas"), replicas, "must be greater than or equal to 0")
			return nil, apierrors.NewInvalid(scaleKind.GroupKind(), p.object.GetName(), field.ErrorList{bad})
		}
		content["spec"] = map[string]any{"replicas": replicas}
	}
	return &Patch{&unstructured.Unstructured{Object: content}}, nil
}

func count(v any) (int64, error) {
	switch n := v.(type) {
	case int64:
		return n, nil
	case float64:
		return int64(n), nil
	}
	return 0, errors.New("not a number")
}

// ManagerOf is the name of a field manager that says nothing but its User-Agent: what stands before the first slash.
func ManagerOf(userAgent string) string {
	name, _, _ := strings.Cut(userAgent, "/")
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name)
	for len(name) > validation.FieldManagerMaxLength {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return name
}
