package registry

import (
	"fmt"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// validatePriorityLevel: one level, of a fixed name, is exempt from the limits; all others are limited.
func validatePriorityLevel(c *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	var e check.Errors
	p, s := field.NewPath("spec"), &c.Spec
	exempt := s.Type == flowcontrolv1.PriorityLevelEnablementExempt
	e.If(exempt != (c.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt), p.Child("type"), s.Type, "must be 'Exempt' if and only if `name` is 'exempt'")
	if s.Type != "" {
		check.Among(&e, p.Child("type"), s.Type, flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)
	}
	if x := s.Exempt; x != nil {
		if s.Type == flowcontrolv1.PriorityLevelEnablementLimited {
			e.Forbidden(p.Child("exempt"), "")
		}
		validateShares(&e, p.Child("exempt"), x.NominalConcurrencyShares, x.LendablePercent)
	}
	switch l := s.Limited; {
	case l == nil && s.Type == flowcontrolv1.PriorityLevelEnablementLimited:
		e.Required(p.Child("limited"), "")
	case l != nil:
		if s.Type != flowcontrolv1.PriorityLevelEnablementLimited {
			e.Forbidden(p.Child("limited"), "")
		}
		validateLimited(&e, p.Child("limited"), l)
	}
	e.NotEmpty(p.Child("type"), string(s.Type))
	return e.List()
}

func validateShares(e *check.Errors, p *field.Path, shares, lendable *int32) {
	const all = 100
	if n := deref(shares); n < 0 {
		e.Invalid(p.Child("nominalConcurrencyShares"), n, "must be a non-negative integer")
	}
	e.InRange(p.Child("lendablePercent"), int64(deref(lendable)), 0, all)
}

// validateLimited checks the limits, and what becomes of the requests beyond them.
func validateLimited(e *check.Errors, p *field.Path, l *flowcontrolv1.LimitedPriorityLevelConfiguration) {
	validateShares(e, p, l.NominalConcurrencyShares, l.LendablePercent)
	if b := l.BorrowingLimitPercent; b != nil {
		e.If(*b < 0, p.Child("borrowingLimitPercent"), *b, "if specified, must be a non-negative integer")
	}
	at, r := p.Child("limitResponse"), &l.LimitResponse
	queues := r.Type == flowcontrolv1.LimitResponseTypeQueue
	if r.Type != "" {
		check.Among(e, at.Child("type"), r.Type, flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)
	}
	switch q := r.Queuing; {
	case queues && q == nil:
		e.Required(at.Child("queuing"), "")
	case queues:
		validateQueues(e, at.Child("queuing"), q)
	case q != nil:
		e.Forbidden(at.Child("queuing"), "")
	}
	e.NotEmpty(at.Child("type"), string(r.Type))
}

func validateQueues(e *check.Errors, p *field.Path, q *flowcontrolv1.QueuingConfiguration) {
	const mostQueues = 10_000_000
	e.If(q.QueueLengthLimit <= 0, p.Child("queueLengthLimit"), q.QueueLengthLimit, "must be positive")
	e.If(q.Queues <= 0, p.Child("queues"), q.Queues, "must be positive")
	e.If(q.Queues > mostQueues, p.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", mostQueues))
	e.If(q.HandSize <= 0, p.Child("handSize"), q.HandSize, "must be positive")
	e.If(q.HandSize > q.Queues, p.Child("handSize"), q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues))
}
