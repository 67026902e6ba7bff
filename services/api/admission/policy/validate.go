package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/admission/match"
)

// Validate implements admission.Validator: the validating policies judge the finished object.
func (p *Plugin) Validate(ctx context.Context, a *admission.Attributes) error {
	if err := p.checkExpressions(a); err != nil {
		return err
	}
	if err := p.checkReader(ctx, a); err != nil {
		return err
	}
	policies, err := p.validators.All(ctx)
	if err != nil || len(policies) == 0 || !match.Concerns(a) {
		return err
	}
	bindings, err := p.validatingBindings.All(ctx)
	if err != nil {
		return err
	}
	v := &verdict{subject: p.subject(a)}
	for _, policy := range policies {
		if err := v.apply(ctx, policy, bindings); err != nil {
			return err
		}
	}
	v.publish()
	return v.refusal()
}

// verdict is what all policies together say about a write.
type verdict struct {
	*subject
	denial   string
	reason   metav1.StatusReason
	denied   bool
	failures []failure
	notes    map[string][]string
}

// failure is one validation that failed, as the audit log shows it.
type failure struct {
	Message           string                                     `json:"message"`
	Policy            string                                     `json:"policy"`
	Binding           string                                     `json:"binding"`
	ExpressionIndex   int                                        `json:"expressionIndex"`
	ValidationActions []admissionregistrationv1.ValidationAction `json:"validationActions"`
}

func (v *verdict) apply(ctx context.Context, policy *validator, bindings []*binding) error {
	world := v.plugin.config.World
	for _, b := range bindings {
		if b.policy != policy.Name {
			continue
		}
		if policy.broken != nil {
			v.misconfigured(policy, nil, policy.broken)
			return nil
		}
		kind, ok, err := policy.criteria.Match(ctx, v.Attributes, world)
		if err != nil {
			v.misconfigured(policy, nil, err)
			return nil
		}
		if !ok {
			return nil
		}
		if ok, err = b.matches(ctx, v.Attributes, world); err != nil {
			v.misconfigured(policy, b, err)
		}
		if err != nil || !ok {
			continue
		}
		params, err := v.plugin.params(ctx, policy.Spec.ParamKind, b.params, v.Namespace)
		if err != nil {
			v.misconfigured(policy, b, err)
			continue
		}
		for _, param := range params {
			in, err := v.input(kind)
			if err != nil {
				v.misconfigured(policy, b, fmt.Errorf("failed to convert object version: %w", err))
				break
			}
			j, err := policy.judge(ctx, v.subject, in, param)
			if err != nil {
				return err
			}
			v.take(policy, b, &j)
		}
	}
	return nil
}

// take adds what one policy says.
func (v *verdict) take(policy *validator, b *binding, j *judgement) {
	for _, f := range j.findings {
		if f.failed && ignores(policy.Spec.FailurePolicy) {
			continue
		}
		for _, action := range b.actions {
			switch action {
			case admissionregistrationv1.Deny:
				v.deny(policy, b, f.message, f.reason)
			case admissionregistrationv1.Audit:
				v.failures = append(v.failures, failure{f.message, policy.Name, b.name, f.index, b.actions})
			case admissionregistrationv1.Warn:
				v.Warning(fmt.Sprintf("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': %s", policy.Name, b.name, f.message))
			}
		}
	}
	for _, note := range j.notes {
		v.note(policy.Name+"/"+note[0], note[1])
	}
	if !ignores(policy.Spec.FailurePolicy) {
		for _, text := range j.failures {
			v.deny(policy, b, text, "")
		}
	}
}

// misconfigured is an error of the policy or of the binding, not of the write.
func (v *verdict) misconfigured(policy *validator, b *binding, err error) {
	if ignores(policy.Spec.FailurePolicy) {
		return
	}
	what := "policy"
	if b != nil {
		what = "binding"
	}
	v.deny(policy, b, fmt.Sprintf("failed to configure %s: %v", what, err), "")
}

// deny refuses the write; the first refusal is the one that is told.
func (v *verdict) deny(policy *validator, b *binding, message string, reason metav1.StatusReason) {
	if v.denied {
		return
	}
	v.denied, v.reason = true, reason
	v.denial = fmt.Sprintf("ValidatingAdmissionPolicy '%s' denied request: %s", policy.Name, message)
	if b != nil {
		v.denial = fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s", policy.Name, b.name, message)
	}
}

// What the audit log is told at most.
const (
	maxNote     = 10 << 10
	maxFailures = 50
)

func (v *verdict) note(key, value string) {
	value = value[:min(len(value), maxNote)]
	if v.notes == nil {
		v.notes = map[string][]string{}
	}
	if !slices.Contains(v.notes[key], value) {
		v.notes[key] = append(v.notes[key], value)
	}
}

func (v *verdict) publish() {
	for key, values := range v.notes {
		v.Annotation(key, strings.Join(values, ", "))
	}
	if len(v.failures) == 0 || v.Annotate == nil {
		return
	}
	data, err := json.Marshal(v.failures[:min(len(v.failures), maxFailures)])
	if err == nil {
		v.Annotation("validation.policy.admission.k8s.io/validation_failure", string(data))
	}
}

// codes are those of the reasons that a validation may give.
var codes = map[metav1.StatusReason]int32{
	metav1.StatusReasonForbidden: http.StatusForbidden, metav1.StatusReasonUnauthorized: http.StatusUnauthorized,
	metav1.StatusReasonRequestEntityTooLarge: http.StatusRequestEntityTooLarge, metav1.StatusReasonInvalid: http.StatusUnprocessableEntity,
}

func (v *verdict) refusal() error {
	if !v.denied {
		return nil
	}
	err := forbidden(v.Attributes, v.denial)
	err.ErrStatus.Reason = v.reason
	if v.reason == "" {
		err.ErrStatus.Reason = metav1.StatusReasonInvalid
	}
	err.ErrStatus.Code = codes[err.ErrStatus.Reason]
	if err.ErrStatus.Code == 0 {
		err.ErrStatus.Code = http.StatusUnprocessableEntity
	}
	return err
}
