package podspec

import (
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// iscsiNames are the forms of names in iSCSI, by how they begin.
var iscsiNames = map[string]*regexp.Regexp{
	"iqn": regexp.MustCompile(`iqn\.\d{4}-\d{2}\.[[:alnum:].-]+:[^,;*&$|\s]+$`),
	"eui": regexp.MustCompile(`^eui.[[:alnum:]]{16}$`),
	"naa": regexp.MustCompile(`^naa.[[:alnum:]]{32}$`),
}

// validateISCSI checks how a volume's target is named and logged in to; noSecret says that it needs a secret and names none.
func validateISCSI(e *check.Errors, p *field.Path, target string, unit int32, initiator *string, noSecret bool) {
	const lastUnit = 255
	if target != "" {
		validateISCSIName(e, p.Child("iqn"), target)
	}
	e.InRange(p.Child("lun"), int64(unit), 0, lastUnit)
	if noSecret {
		e.Required(p.Child("secretRef"), "")
	}
	if initiator != nil {
		validateISCSIName(e, p.Child("initiatorname"), *initiator)
	}
}

func validateISCSIName(e *check.Errors, p *field.Path, name string) {
	for kind, form := range iscsiNames {
		if strings.HasPrefix(name, kind) {
			e.If(!form.MatchString(name), p, name, "must be valid format")
			return
		}
	}
	e.Invalid(p, name, "must be valid format starting with iqn, eui, or naa")
}
