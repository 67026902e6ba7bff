package policy

import (
	"context"
	"errors"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/admission/match"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/watch"
)

// maxParams bounds the objects that a selector of parameters may find: the policy is evaluated with each of them.
const maxParams = 1000

var errNoParams = errors.New("no params found for policy binding with `Deny` parameterNotFoundAction")

// params returns what the policy is to be evaluated with, one after the other: a single nil where there are no
// parameters, nothing where they are missing and that is to be so.
func (p *Plugin) params(ctx context.Context, declared *admissionregistrationv1.ParamKind, ref *admissionregistrationv1.ParamRef, namespace string) ([]runtime.Object, error) {
	if declared == nil || ref == nil {
		return []runtime.Object{nil}, nil
	}
	kind, ok := p.config.World.Kind(schema.FromAPIVersionAndKind(declared.APIVersion, declared.Kind))
	if !ok {
		return nil, fmt.Errorf("paramKind kind `%v` not known", declared.String())
	}
	namespace, err := paramNamespace(kind, ref, namespace)
	if err != nil {
		return nil, err
	}
	var found []registry.Object
	switch {
	case ref.Name != "" && ref.Selector != nil:
		return nil, errors.New("paramRef.name and paramRef.selector are mutually exclusive")
	case ref.Name != "":
		var obj registry.Object
		if obj, err = p.config.World.Read(ctx, kind.GroupVersionKind, namespace, ref.Name); err == nil {
			found = []registry.Object{obj}
		} else if apierrors.IsNotFound(err) {
			err = nil
		}
	case ref.Selector != nil:
		found, err = p.selectParams(ctx, kind, namespace, ref.Selector)
	default:
		return nil, errors.New("one of name or selector must be provided")
	}
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && ref.ParameterNotFoundAction != nil && *ref.ParameterNotFoundAction == admissionregistrationv1.DenyAction {
		return nil, errNoParams
	}
	out := make([]runtime.Object, len(found))
	for i, obj := range found {
		out[i] = match.Plain(obj, kind.GroupVersionKind)
	}
	return out, nil
}

// paramNamespace is where the parameters are: where the binding says, else where the object is.
func paramNamespace(kind *registry.Kind, ref *admissionregistrationv1.ParamRef, namespace string) (string, error) {
	switch {
	case !kind.Namespaced && ref.Namespace != "":
		return "", errors.New("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
	case !kind.Namespaced:
		return "", nil
	case ref.Namespace != "":
		return ref.Namespace, nil
	case namespace == "":
		return "", errors.New("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
	}
	return namespace, nil
}

func (p *Plugin) selectParams(ctx context.Context, kind *registry.Kind, namespace string, s *metav1.LabelSelector) ([]registry.Object, error) {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil, err
	}
	objects, err := p.config.World.Settled(ctx, kind.GroupVersionKind)
	if err != nil || objects == nil {
		return nil, err
	}
	page := objects.List(watch.Query{Namespace: namespace, Predicate: watch.Predicate{Labels: selector}, Limit: maxParams + 1})
	if len(page.Entries) > maxParams {
		return nil, fmt.Errorf("the selector of paramRef finds more than %d params", maxParams)
	}
	out := make([]registry.Object, 0, len(page.Entries))
	for _, e := range page.Entries {
		if e.Err != nil {
			return nil, e.Err
		}
		obj, err := codec.Load(kind, e.Value, e.Revision)
		if err != nil {
			return nil, err
		}
		out = append(out, obj)
	}
	return out, nil
}
