package registry

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// apiExtensions is the category of kinds that change what the API does with others.
var apiExtensions = []string{"api-extensions"}

func admission(kind string) schema.GroupVersionKind {
	return gvk("admissionregistration.k8s.io", "v1", kind)
}

func mutatingWebhookConfiguration() *Kind {
	return define(Spec[*admissionv1.MutatingWebhookConfiguration]{
		GVK: admission("MutatingWebhookConfiguration"), Resource: "mutatingwebhookconfigurations", Singular: "mutatingwebhookconfiguration", Categories: apiExtensions,
		New:     func() *admissionv1.MutatingWebhookConfiguration { return &admissionv1.MutatingWebhookConfiguration{} },
		NewList: func() runtime.Object { return &admissionv1.MutatingWebhookConfigurationList{} },
		Life:    counted(func(c *admissionv1.MutatingWebhookConfiguration) any { return c.Webhooks }),
		Default: func(c *admissionv1.MutatingWebhookConfiguration) {
			for i := range c.Webhooks {
				w := &c.Webhooks[i]
				defaultHook(&w.FailurePolicy, &w.MatchPolicy, &w.NamespaceSelector, &w.ObjectSelector, &w.TimeoutSeconds, &w.ClientConfig, w.Rules)
				point(&w.ReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
			}
		},
		Validate: func(c *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
			var e check.Errors
			names := map[string]bool{}
			for i := range c.Webhooks {
				w := &c.Webhooks[i]
				validateHook(&e, field.NewPath("webhooks").Index(i), w.Name, w.ClientConfig, w.SideEffects, w.AdmissionReviewVersions, w.TimeoutSeconds, names)
			}
			return e.List()
		},
		Columns: columns("Name|Webhooks#|Age"),
		Cells: func(c *admissionv1.MutatingWebhookConfiguration, now time.Time) []any {
			return []any{c.Name, int64(len(c.Webhooks)), age(c.CreationTimestamp, now)}
		},
	})
}

func validatingWebhookConfiguration() *Kind {
	return define(Spec[*admissionv1.ValidatingWebhookConfiguration]{
		GVK: admission("ValidatingWebhookConfiguration"), Resource: "validatingwebhookconfigurations", Singular: "validatingwebhookconfiguration", Categories: apiExtensions,
		New: func() *admissionv1.ValidatingWebhookConfiguration {
			return &admissionv1.ValidatingWebhookConfiguration{}
		},
		NewList: func() runtime.Object { return &admissionv1.ValidatingWebhookConfigurationList{} },
		Life:    counted(func(c *admissionv1.ValidatingWebhookConfiguration) any { return c.Webhooks }),
		Default: func(c *admissionv1.ValidatingWebhookConfiguration) {
			for i := range c.Webhooks {
				w := &c.Webhooks[i]
				defaultHook(&w.FailurePolicy, &w.MatchPolicy, &w.NamespaceSelector, &w.ObjectSelector, &w.TimeoutSeconds, &w.ClientConfig, w.Rules)
			}
		},
		Validate: func(c *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
			var e check.Errors
			names := map[string]bool{}
			for i := range c.Webhooks {
				w := &c.Webhooks[i]
				validateHook(&e, field.NewPath("webhooks").Index(i), w.Name, w.ClientConfig, w.SideEffects, w.AdmissionReviewVersions, w.TimeoutSeconds, names)
			}
			return e.List()
		},
		Columns: columns("Name|Webhooks#|Age"),
		Cells: func(c *admissionv1.ValidatingWebhookConfiguration, now time.Time) []any {
			return []any{c.Name, int64(len(c.Webhooks)), age(c.CreationTimestamp, now)}
		},
	})
}

func defaultHook(policy **admissionv1.FailurePolicyType, match **admissionv1.MatchPolicyType, namespaces, objects **metav1.LabelSelector,
	timeout **int32, client *admissionv1.WebhookClientConfig, rules []admissionv1.RuleWithOperations) {
	point(policy, admissionv1.Fail)
	point(match, admissionv1.Equivalent)
	point(namespaces, metav1.LabelSelector{})
	point(objects, metav1.LabelSelector{})
	point(timeout, 10)
	if client.Service != nil {
		point(&client.Service.Port, 443)
	}
	for i := range rules {
		point(&rules[i].Scope, admissionv1.AllScopes)
	}
}

func validateHook(e *check.Errors, p *field.Path, name string, client admissionv1.WebhookClientConfig, effects *admissionv1.SideEffectClass,
	versions []string, timeout *int32, names map[string]bool) {
	const longest = 30
	e.Add(validation.IsFullyQualifiedName(p.Child("name"), name)...)
	if names[name] {
		e.Duplicate(p.Child("name"), name)
	}
	names[name] = true
	if (client.URL == nil) == (client.Service == nil) {
		e.Required(p.Child("clientConfig"), "exactly one of url or service is required")
	}
	if s := client.Service; s != nil {
		e.NotEmpty(p.Child("clientConfig", "service", "name"), s.Name)
		e.NotEmpty(p.Child("clientConfig", "service", "namespace"), s.Namespace)
	}
	if effects == nil {
		e.Required(p.Child("sideEffects"), "must specify one of None, NoneOnDryRun")
	} else {
		check.Among(e, p.Child("sideEffects"), *effects, admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun)
	}
	if len(versions) == 0 {
		e.Required(p.Child("admissionReviewVersions"), "must specify one of v1, v1beta1")
	}
	if t := timeout; t != nil && (*t < 1 || *t > longest) {
		e.Invalid(p.Child("timeoutSeconds"), *t, "the timeout value must be between 1 and 30 seconds")
	}
}
