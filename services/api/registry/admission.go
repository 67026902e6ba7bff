package registry

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
				p := field.NewPath("webhooks").Index(i)
				validateHook(&e, p, w.Name, w.ClientConfig, w.SideEffects, w.AdmissionReviewVersions, w.TimeoutSeconds, names)
				validateHookMatch(&e, p, w.Rules, w.FailurePolicy, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector, w.MatchConditions)
				if r := w.ReinvocationPolicy; r != nil {
					check.Among(&e, p.Child("reinvocationPolicy"), *r, admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
				}
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
				p := field.NewPath("webhooks").Index(i)
				validateHook(&e, p, w.Name, w.ClientConfig, w.SideEffects, w.AdmissionReviewVersions, w.TimeoutSeconds, names)
				validateHookMatch(&e, p, w.Rules, w.FailurePolicy, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector, w.MatchConditions)
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
