package policy

import (
	"context"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/authz"
	"karve.dev/karve/services/api/registry"
)

// checkReader refuses policies and bindings whose author may not read the parameters that they make use of: messages would
// tell what is in them.
func (p *Plugin) checkReader(ctx context.Context, a *admission.Attributes) error {
	if a.Kind.Group != admissionregistrationv1.GroupName || a.Subresource != "" || a.Object == nil {
		return nil
	}
	if kind := paramKindOf(a.Object); kind != nil && !equality.Semantic.DeepEqual(kind, paramKindOf(a.Old)) {
		err := p.mayRead(ctx, a, kind, "*", "*")
		return refusedReader(a, err, fmt.Sprintf("user %q must have \"get\" permission on all objects of the referenced paramKind (kind=%s, apiVersion=%s)", a.User.Name, kind.Kind, kind.APIVersion))
	}
	policy, ref := paramRefOf(a.Object)
	if _, was := paramRefOf(a.Old); ref == nil || equality.Semantic.DeepEqual(ref, was) {
		return nil
	}
	kind, err := p.paramKindOfPolicy(ctx, a.Object, policy)
	if kind == nil || err != nil {
		// A binding may come before its policy: then its author answers for any parameters.
		return err
	}
	name, namespace := ref.Name, ref.Namespace
	if name == "" {
		name = "*"
	}
	if namespace == "" {
		namespace = "*"
	}
	err = p.mayRead(ctx, a, kind, namespace, name)
	return refusedReader(a, err, fmt.Sprintf("user %q does not have \"get\" permission on the object referenced by paramRef", a.User.Name))
}

func refusedReader(a *admission.Attributes, err error, text string) error {
	if err == nil {
		return nil
	}
	return apierrors.NewForbidden(a.GroupResource(), a.Name, fmt.Errorf("%s", text))
}

func paramKindOf(obj registry.Object) *admissionregistrationv1.ParamKind {
	switch o := obj.(type) {
	case *admissionregistrationv1.ValidatingAdmissionPolicy:
		return o.Spec.ParamKind
	case *admissionregistrationv1.MutatingAdmissionPolicy:
		return o.Spec.ParamKind
	}
	return nil
}

func paramRefOf(obj registry.Object) (policy string, ref *admissionregistrationv1.ParamRef) {
	switch o := obj.(type) {
	case *admissionregistrationv1.ValidatingAdmissionPolicyBinding:
		return o.Spec.PolicyName, o.Spec.ParamRef
	case *admissionregistrationv1.MutatingAdmissionPolicyBinding:
		return o.Spec.PolicyName, o.Spec.ParamRef
	}
	return "", nil
}

// paramKindOfPolicy is that of the policy that a binding names; one that is not there yet may have any.
func (p *Plugin) paramKindOfPolicy(ctx context.Context, binding registry.Object, name string) (*admissionregistrationv1.ParamKind, error) {
	gvk := gvkValidating
	if _, ok := binding.(*admissionregistrationv1.MutatingAdmissionPolicyBinding); ok {
		gvk.Kind = "MutatingAdmissionPolicy"
	}
	obj, err := p.config.World.Read(ctx, gvk, "", name)
	if apierrors.IsNotFound(err) {
		return &admissionregistrationv1.ParamKind{APIVersion: "*/*", Kind: "*"}, nil
	}
	if err != nil {
		return nil, err
	}
	return paramKindOf(obj), nil
}

// mayRead is an error when the author may not read objects of a kind.
func (p *Plugin) mayRead(ctx context.Context, a *admission.Attributes, kind *admissionregistrationv1.ParamKind, namespace, name string) error {
	attrs := authz.Attributes{User: a.User, Verb: "get", Namespace: namespace, Name: name, Group: "*", Version: "*", Resource: "*"}
	if served, ok := p.config.World.Kind(schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind)); ok {
		attrs.Group, attrs.Version, attrs.Resource = served.Group, served.Version, served.Resource
		if !served.Namespaced {
			attrs.Namespace = ""
		}
	}
	allowed, _, err := p.config.Authorize(ctx, attrs)
	if err == nil && !allowed {
		err = authz.Forbidden(attrs, "")
	}
	return err
}
