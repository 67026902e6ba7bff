package webhook

import (
	"fmt"
	"slices"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"karve.dev/karve/services/api/admission/expression"
	"karve.dev/karve/services/api/admission/match"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/webhook"
)

// hook is one webhook, ready to be asked.
type hook struct {
	name, configuration string
	// id tells hooks of the same name apart.
	id         string
	criteria   *match.Criteria
	conditions *expression.Conditions
	endpoint   webhook.Endpoint
	timeout    time.Duration
	// version is that of the AdmissionReview; empty when the webhook knows none that is spoken here.
	version string
	// ignore lets a write pass when the webhook cannot be asked.
	ignore bool
	// dry: asking has no effects that a dry run must not have.
	dry bool
	// again: the webhook wants to be asked once more when others have changed the object after it.
	again bool
	// broken is why the webhook cannot be asked at all.
	broken error
}

// common is what validating and mutating webhooks declare alike.
type common struct {
	name       string
	client     admissionregistrationv1.WebhookClientConfig
	rules      []admissionregistrationv1.RuleWithOperations
	match      *admissionregistrationv1.MatchPolicyType
	namespaces *selector
	objects    *selector
	conditions []admissionregistrationv1.MatchCondition
	failure    *admissionregistrationv1.FailurePolicyType
	effects    *admissionregistrationv1.SideEffectClass
	timeout    *int32
	versions   []string
}

const defaultTimeout = 10 * time.Second

// reviewVersions are the versions of AdmissionReview: they differ in nothing but their name.
var reviewVersions = []string{"v1", "v1beta1"}

func (c common) hook(configuration string, index int, compiler *expression.Compiler) *hook {
	h := &hook{
		name: c.name, configuration: configuration, id: fmt.Sprintf("%s/%s/%d", configuration, c.name, index), conditions: compiler.Conditions(c.conditions),
		endpoint: endpoint(c.client), timeout: defaultTimeout,
		ignore: c.failure != nil && *c.failure == admissionregistrationv1.Ignore,
		dry:    c.effects != nil && (*c.effects == admissionregistrationv1.SideEffectClassNone || *c.effects == admissionregistrationv1.SideEffectClassNoneOnDryRun),
	}
	if c.timeout != nil {
		h.timeout = time.Duration(*c.timeout) * time.Second
	}
	for _, v := range c.versions {
		if h.version == "" && slices.Contains(reviewVersions, v) {
			h.version = v
		}
	}
	h.criteria, h.broken = match.ForWebhook(c.rules, c.match, c.namespaces, c.objects)
	return h
}

func endpoint(c admissionregistrationv1.WebhookClientConfig) webhook.Endpoint {
	e := webhook.NewEndpoint(c.URL, c.CABundle)
	if s := c.Service; s != nil {
		e.Service = webhook.NewService(s.Namespace, s.Name, s.Path, s.Port)
	}
	return e
}

// validating and mutating read the configurations.
func (p *Plugin) validating(obj registry.Object) []*hook {
	config := obj.(*admissionregistrationv1.ValidatingWebhookConfiguration)
	hooks := make([]*hook, len(config.Webhooks))
	for i := range config.Webhooks {
		w := &config.Webhooks[i]
		hooks[i] = common{
			w.Name, w.ClientConfig, w.Rules, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector, w.MatchConditions,
			w.FailurePolicy, w.SideEffects, w.TimeoutSeconds, w.AdmissionReviewVersions,
		}.hook(config.Name, i, p.config.Compiler)
	}
	return hooks
}

func (p *Plugin) mutating(obj registry.Object) []*hook {
	config := obj.(*admissionregistrationv1.MutatingWebhookConfiguration)
	hooks := make([]*hook, len(config.Webhooks))
	for i := range config.Webhooks {
		w := &config.Webhooks[i]
		hooks[i] = common{
			w.Name, w.ClientConfig, w.Rules, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector, w.MatchConditions,
			w.FailurePolicy, w.SideEffects, w.TimeoutSeconds, w.AdmissionReviewVersions,
		}.hook(config.Name, i, p.config.Compiler)
		hooks[i].again = w.ReinvocationPolicy != nil && *w.ReinvocationPolicy == admissionregistrationv1.IfNeededReinvocationPolicy
	}
	return hooks
}
