// Package check collects what is wrong with an object, in the words and at the paths that Kubernetes uses.
package check

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Errors collects findings. The zero value is ready; it is not safe for concurrent use.
type Errors struct{ list field.ErrorList }

// List returns what was found, nil when nothing was.
func (e *Errors) List() field.ErrorList { return e.list }

// Add takes over findings of another validation.
func (e *Errors) Add(list ...*field.Error) { e.list = append(e.list, list...) }

// Required says that a value is missing.
func (e *Errors) Required(p *field.Path, detail string) { e.Add(field.Required(p, detail)) }

// Invalid says what is wrong with a value.
func (e *Errors) Invalid(p *field.Path, value any, detail string) {
	e.Add(field.Invalid(p, value, detail))
}

// Forbidden says why a field may not be set.
func (e *Errors) Forbidden(p *field.Path, detail string) { e.Add(field.Forbidden(p, detail)) }

// Duplicate says that a value was there already.
func (e *Errors) Duplicate(p *field.Path, value any) { e.Add(field.Duplicate(p, value)) }

// If reports an invalid value when bad is true.
func (e *Errors) If(bad bool, p *field.Path, value any, detail string) {
	if bad {
		e.Invalid(p, value, detail)
	}
}

// Messages reports each message of one of Kubernetes' string checks.
func (e *Errors) Messages(p *field.Path, value any, messages []string) {
	for _, m := range messages {
		e.Invalid(p, value, m)
	}
}

// NotEmpty reports an empty string and returns whether there is one.
func (e *Errors) NotEmpty(p *field.Path, value string) bool {
	if value == "" {
		e.Required(p, "")
	}
	return value != ""
}

// NonNegative reports a value below zero.
func (e *Errors) NonNegative(p *field.Path, value int64) { e.AtLeast(p, value, 0) }

// Positive reports a value below one.
func (e *Errors) Positive(p *field.Path, value int64) {
	if value <= 0 {
		e.Add(field.Invalid(p, value, "must be greater than zero").WithOrigin("minimum"))
	}
}

// AtLeast reports a value below low.
func (e *Errors) AtLeast(p *field.Path, value, low int64) {
	if value < low {
		e.Add(field.Invalid(p, value, "must be greater than or equal to "+itoa(low)).WithOrigin("minimum"))
	}
}

// NonNegatives applies NonNegative to each field below p that is set.
func (e *Errors) NonNegatives(p *field.Path, values map[string]*int32) {
	for _, name := range sortedKeys(values) {
		if v := values[name]; v != nil {
			e.NonNegative(p.Child(name), int64(*v))
		}
	}
}

// InRange reports a value outside low and high, both included.
func (e *Errors) InRange(p *field.Path, value, low, high int64) {
	if value < low || value > high {
		e.Invalid(p, value, validation.InclusiveRangeError(int(low), int(high)))
	}
}

// Port reports a number that is no port.
func (e *Errors) Port(p *field.Path, port int32) {
	e.Messages(p, port, validation.IsValidPortNum(int(port)))
}

// PortOrName reports a target port that is neither a port nor a port's name.
func (e *Errors) PortOrName(p *field.Path, port intstr.IntOrString) {
	switch port.Type {
	case intstr.Int:
		e.Messages(p, port.IntValue(), validation.IsValidPortNum(port.IntValue()))
	case intstr.String:
		e.Messages(p, port.StrVal, validation.IsValidPortName(port.StrVal))
	default:
		e.Add(field.InternalError(p, errPortType))
	}
}

// Percent reports a value that is neither a count from zero nor a percentage.
func (e *Errors) Percent(p *field.Path, v intstr.IntOrString) {
	switch v.Type {
	case intstr.Int:
		e.NonNegative(p, int64(v.IntValue()))
	case intstr.String:
		e.Messages(p, v, validation.IsValidPercent(v.StrVal))
	default:
		e.Invalid(p, v, "must be an integer or percentage (e.g '5%%')")
	}
}

// Selector reports what is wrong with a label selector.
func (e *Errors) Selector(p *field.Path, s *metav1.LabelSelector) {
	e.Add(metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, p)...)
}

// Immutable reports a field that differs from what it was.
func (e *Errors) Immutable(p *field.Path, now, was any) {
	if !equality.Semantic.DeepEqual(now, was) {
		e.Add(field.Invalid(p, now, "field is immutable").WithOrigin("immutable"))
	}
}

// Label reports a value that is no DNS label.
func (e *Errors) Label(p *field.Path, value string) {
	e.Messages(p, value, validation.IsDNS1123Label(value))
}

// Subdomain reports a value that is no DNS name.
func (e *Errors) Subdomain(p *field.Path, value string) {
	e.Messages(p, value, validation.IsDNS1123Subdomain(value))
}

// OneOf reports a value that is not among those allowed, an empty one as missing.
func OneOf[T ~string](e *Errors, p *field.Path, value T, allowed ...T) bool {
	if value == "" {
		e.Required(p, "")
		return false
	}
	return Among(e, p, value, allowed...)
}

// Among reports a value, also an empty one, that is not among those allowed.
func Among[T ~string](e *Errors, p *field.Path, value T, allowed ...T) bool {
	if slices.Contains(allowed, value) {
		return true
	}
	e.Add(field.NotSupported(p, value, allowed))
	return false
}

// Joined makes one message of many, as some of Kubernetes' checks do.
func Joined(messages []string) string { return strings.Join(messages, ";") }

// AtMostAll reports a percentage above all of them.
func (e *Errors) AtMostAll(p *field.Path, v intstr.IntOrString) {
	const all = 100
	if v.Type != intstr.String || len(validation.IsValidPercent(v.StrVal)) > 0 {
		return
	}
	percent, err := intstr.GetScaledValueFromIntOrPercent(&v, all, false)
	e.If(err == nil && percent > all, p, v, "must not be greater than 100%")
}
