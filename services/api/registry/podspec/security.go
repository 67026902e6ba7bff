package podspec

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func isPrivileged(c *corev1.Container) bool {
	return c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
}

// validatePodSecurity checks what holds for all containers; p is the spec's path.
func (s *scope) validatePodSecurity(p *field.Path) {
	sc := s.spec.SecurityContext
	if sc == nil {
		return
	}
	at := p.Child("securityContext")
	s.validateGroup(at.Child("fsGroup"), sc.FSGroup)
	s.validateUser(at.Child("runAsUser"), sc.RunAsUser)
	s.validateGroup(at.Child("runAsGroup"), sc.RunAsGroup)
	for i, g := range sc.SupplementalGroups {
		s.Messages(at.Child("supplementalGroups").Index(i), g, validation.IsValidGroupID(g))
	}
	if share := s.spec.ShareProcessNamespace; share != nil && *share && s.spec.HostPID {
		s.Invalid(p.Child("shareProcessNamespace"), *share, "ShareProcessNamespace and HostPID cannot both be enabled")
	}
	s.validateSysctls(at.Child("sysctls"), sc.Sysctls)
	if f := sc.FSGroupChangePolicy; f != nil {
		check.Among(s.Errors, at.Child("fsGroupChangePolicy"), *f, corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)
	}
	if g := sc.SupplementalGroupsPolicy; g != nil {
		check.Among(s.Errors, at.Child("supplementalGroupsPolicy"), *g, corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)
	}
	s.validateSeccomp(at.Child("seccompProfile"), sc.SeccompProfile)
	s.validateAppArmor(at.Child("appArmorProfile"), sc.AppArmorProfile)
}

func (s *scope) validateUser(p *field.Path, id *int64) {
	if id != nil {
		s.Messages(p, *id, validation.IsValidUserID(*id))
	}
}

func (s *scope) validateGroup(p *field.Path, id *int64) {
	if id != nil {
		s.Messages(p, *id, validation.IsValidGroupID(*id))
	}
}

func (s *scope) validateSecurity(p *field.Path, sc *corev1.SecurityContext) {
	if sc == nil {
		return
	}
	s.validateUser(p.Child("runAsUser"), sc.RunAsUser)
	s.validateGroup(p.Child("runAsGroup"), sc.RunAsGroup)
	if m := sc.ProcMount; m != nil {
		check.Among(s.Errors, p.Child("procMount"), *m, corev1.DefaultProcMount, corev1.UnmaskedProcMount)
		if *m == corev1.UnmaskedProcMount && (s.spec.HostUsers == nil || *s.spec.HostUsers) {
			s.Invalid(p.Child("procMount"), *m, "`hostUsers` must be false to use `Unmasked`")
		}
	}
	s.validateSeccomp(p.Child("seccompProfile"), sc.SeccompProfile)
	s.validateAppArmor(p.Child("appArmorProfile"), sc.AppArmorProfile)
	if sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation {
		return
	}
	if sc.Privileged != nil && *sc.Privileged {
		s.Invalid(p, sc, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
	}
	if sc.Capabilities != nil && slices.Contains(sc.Capabilities.Add, "CAP_SYS_ADMIN") {
		s.Invalid(p, sc, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")
	}
}

func (s *scope) validateSeccomp(p *field.Path, sp *corev1.SeccompProfile) {
	if sp == nil {
		return
	}
	switch at := p.Child("localhostProfile"); {
	case sp.Type == corev1.SeccompProfileTypeLocalhost && sp.LocalhostProfile == nil:
		s.Required(at, "must be set when seccomp type is Localhost")
	case sp.Type == corev1.SeccompProfileTypeLocalhost:
		s.descendingPath(at, *sp.LocalhostProfile)
	case sp.LocalhostProfile != nil:
		s.Invalid(at, *sp.LocalhostProfile, "can only be set when seccomp type is Localhost")
	}
	if sp.Type == "" {
		s.Required(p.Child("type"), "type is required when seccompProfile is set")
		return
	}
	check.Among(s.Errors, p.Child("type"), sp.Type, corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)
}

func (s *scope) validateAppArmor(p *field.Path, a *corev1.AppArmorProfile) {
	if a == nil {
		return
	}
	at := p.Child("localhostProfile")
	switch a.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		if a.LocalhostProfile == nil {
			s.Required(at, "must be set when AppArmor type is Localhost")
		} else if name := strings.TrimSpace(*a.LocalhostProfile); name != *a.LocalhostProfile {
			s.Invalid(at, *a.LocalhostProfile, "must not be padded with whitespace")
		} else if name == "" {
			s.Required(at, "must be set when AppArmor type is Localhost")
		}
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if a.LocalhostProfile != nil {
			s.Invalid(at, *a.LocalhostProfile, "can only be set when AppArmor type is Localhost")
		}
	case "":
		s.Required(p.Child("type"), "type is required when appArmorProfile is set")
	default:
		check.Among(s.Errors, p.Child("type"), a.Type, corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)
	}
}

const (
	sysctlPart    = `[a-z0-9]([-_a-z0-9]*[a-z0-9])?`
	sysctlForm    = "(" + sysctlPart + `[\./])*` + sysctlPart
	longestSysctl = 253
)

var sysctlName = regexp.MustCompile("^" + sysctlForm + "$")

func (s *scope) validateSysctls(p *field.Path, sysctls []corev1.Sysctl) {
	names := map[string]bool{}
	for i, c := range sysctls {
		at := p.Index(i).Child("name")
		switch name := strings.ReplaceAll(c.Name, "/", "."); {
		case c.Name == "":
			s.Required(at, "")
		case len(c.Name) > longestSysctl || !sysctlName.MatchString(c.Name):
			s.Invalid(at, c.Name, fmt.Sprintf("must have at most %d characters and match regex %s", longestSysctl, "^"+sysctlForm+"$"))
		case names[name]:
			s.Duplicate(at, c.Name)
		default:
			names[name] = true
			s.hostSysctl(at, c.Name)
		}
	}
}

// hostSysctl: what the pod shares with its machine is not the pod's to set.
func (s *scope) hostSysctl(p *field.Path, name string) {
	dotted := strings.ReplaceAll(name, "/", ".")
	s.If(s.spec.HostNetwork && strings.HasPrefix(dotted, "net."), p, name, "may not be set when 'hostNetwork' is true")
	ipc := strings.HasPrefix(dotted, "kernel.shm") || strings.HasPrefix(dotted, "kernel.msg") || dotted == "kernel.sem" || strings.HasPrefix(dotted, "fs.mqueue.")
	s.If(s.spec.HostIPC && ipc, p, name, "may not be set when 'hostIPC' is true")
}
