package registry

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func validateHook(e *check.Errors, p *field.Path, name string, client admissionv1.WebhookClientConfig, effects *admissionv1.SideEffectClass,
	versions []string, timeout *int32, names map[string]bool) {
	const longest = 30
	e.Add(validation.IsFullyQualifiedName(p.Child("name"), name)...)
	if names[name] {
		e.Duplicate(p.Child("name"), name)
	}
	names[name] = true
	validateClient(e, p.Child("clientConfig"), client)
	if effects == nil {
		e.Required(p.Child("sideEffects"), "must specify one of None, NoneOnDryRun")
	} else {
		check.Among(e, p.Child("sideEffects"), *effects, admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun)
	}
	validateReviewVersions(e, p.Child("admissionReviewVersions"), versions)
	if t := timeout; t != nil && (*t < 1 || *t > longest) {
		e.Invalid(p.Child("timeoutSeconds"), *t, "the timeout value must be between 1 and 30 seconds")
	}
}

// reviewVersions are the versions of AdmissionReview that are spoken.
var reviewVersions = []string{"v1", "v1beta1"}

func validateReviewVersions(e *check.Errors, p *field.Path, versions []string) {
	if len(versions) == 0 {
		e.Required(p, "must specify one of v1, v1beta1")
		return
	}
	known, seen := false, map[string]bool{}
	for i, v := range versions {
		known = known || slices.Contains(reviewVersions, v)
		if seen[v] {
			e.Invalid(p.Index(i), v, "duplicate version")
			continue
		}
		seen[v] = true
		e.Messages(p.Index(i), v, validation.IsDNS1035Label(v))
	}
	if !known {
		e.Invalid(p, versions, "must include at least one of v1, v1beta1")
	}
}

func validateClient(e *check.Errors, p *field.Path, client admissionv1.WebhookClientConfig) {
	switch {
	case (client.URL == nil) == (client.Service == nil):
		e.Required(p, "exactly one of url or service is required")
	case client.URL != nil:
		validateHookURL(e, p.Child("url"), *client.URL)
	default:
		s := client.Service
		e.NotEmpty(p.Child("service", "name"), s.Name)
		e.NotEmpty(p.Child("service", "namespace"), s.Namespace)
		if s.Port != nil {
			if errs := validation.IsValidPortNum(int(*s.Port)); errs != nil {
				e.Invalid(p.Child("service", "port"), *s.Port, "port is not valid: "+strings.Join(errs, ", "))
			}
		}
		if s.Path != nil && *s.Path != "" && !strings.HasPrefix(*s.Path, "/") {
			e.Invalid(p.Child("service", "path"), *s.Path, "must start with a '/'")
		}
	}
}

func validateHookURL(e *check.Errors, p *field.Path, text string) {
	const form = "; desired format: https://host[/path]"
	u, err := url.Parse(text)
	if err != nil {
		e.Required(p, "url must be a valid URL: "+err.Error()+form)
		return
	}
	e.If(u.Scheme != "https", p, u.Scheme, "'https' is the only allowed URL scheme"+form)
	e.If(u.Host == "", p, u.Host, "host must be specified"+form)
	if u.User != nil {
		e.Invalid(p, u.User.String(), "user information is not permitted in the URL")
	}
	e.If(u.Fragment != "", p, u.Fragment, "fragments are not permitted in the URL")
	e.If(u.RawQuery != "", p, u.RawQuery, "query parameters are not permitted in the URL")
}

func validateHookMatch(e *check.Errors, p *field.Path, rules []admissionv1.RuleWithOperations, failure *admissionv1.FailurePolicyType,
	match *admissionv1.MatchPolicyType, namespaces, objects *metav1.LabelSelector, conditions []admissionv1.MatchCondition) {
	for i := range rules {
		validateHookRule(e, p.Child("rules").Index(i), &rules[i])
	}
	validateFailurePolicy(e, p, failure)
	validateMatchPolicy(e, p, match)
	e.Selector(p.Child("namespaceSelector"), namespaces)
	e.Selector(p.Child("objectSelector"), objects)
	validateMatchConditions(e, p.Child("matchConditions"), conditions)
}

func validateFailurePolicy(e *check.Errors, p *field.Path, policy *admissionv1.FailurePolicyType) {
	if policy != nil {
		check.Among(e, p.Child("failurePolicy"), *policy, admissionv1.Fail, admissionv1.Ignore)
	}
}

func validateMatchPolicy(e *check.Errors, p *field.Path, policy *admissionv1.MatchPolicyType) {
	if policy != nil {
		check.Among(e, p.Child("matchPolicy"), *policy, admissionv1.Equivalent, admissionv1.Exact)
	}
}

// validateMatchConditions checks the names; admission compiles the expressions.
func validateMatchConditions(e *check.Errors, p *field.Path, conditions []admissionv1.MatchCondition) {
	const most = 64
	if len(conditions) > most {
		e.Add(field.TooMany(p, len(conditions), most))
	}
	seen := map[string]bool{}
	for i, c := range conditions {
		path := p.Index(i)
		e.NotEmpty(path.Child("expression"), strings.TrimSpace(c.Expression))
		if e.NotEmpty(path.Child("name"), c.Name) {
			e.Qualified(path.Child("name"), c.Name)
		}
		if seen[c.Name] {
			e.Duplicate(path.Child("name"), c.Name)
		}
		seen[c.Name] = true
	}
}

func validateHookRule(e *check.Errors, p *field.Path, r *admissionv1.RuleWithOperations) {
	validateWildcard(e, p.Child("operations"), r.Operations, "operations")
	for i, op := range r.Operations {
		check.Among(e, p.Child("operations").Index(i), op, admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Delete, admissionv1.Update)
	}
	validateWildcard(e, p.Child("apiGroups"), r.APIGroups, "API groups")
	validateWildcard(e, p.Child("apiVersions"), r.APIVersions, "API versions")
	for i, v := range r.APIVersions {
		e.NotEmpty(p.Child("apiVersions").Index(i), v)
	}
	validateResources(e, p.Child("resources"), r.Resources)
	if r.Scope != nil {
		check.Among(e, p.Child("scope"), *r.Scope, admissionv1.AllScopes, admissionv1.ClusterScope, admissionv1.NamespacedScope)
	}
}

func validateWildcard[T ~string](e *check.Errors, p *field.Path, all []T, what string) {
	if len(all) == 0 {
		e.Required(p, "")
	}
	e.If(len(all) > 1 && slices.Contains(all, "*"), p, all, "if '*' is present, must not specify other "+what)
}

func validateResources(e *check.Errors, p *field.Path, all []string) {
	if len(all) == 0 {
		e.Required(p, "")
	}
	any, parents, parts := false, map[string]bool{}, map[string]bool{}
	for i, r := range all {
		if !e.NotEmpty(p.Index(i), r) {
			continue
		}
		resource, part, _ := strings.Cut(r, "/")
		switch {
		case parents[resource] && part != "":
			e.Invalid(p.Index(i), r, fmt.Sprintf("if '%s/*' is present, must not specify %s", resource, r))
		case parts[part] && part != "":
			e.Invalid(p.Index(i), r, fmt.Sprintf("if '*/%s' is present, must not specify %s", part, r))
		}
		any = any || r == "*/*"
		if part == "*" {
			parents[resource] = true
		}
		if resource == "*" {
			parts[part] = true
		}
	}
	e.If(len(all) > 1 && any, p, all, "if '*/*' is present, must not specify other resources")
}
