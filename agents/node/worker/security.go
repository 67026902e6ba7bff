package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/machine"
	"karve.dev/karve/agents/node/runtime"
)

// secure applies the security contexts: what the container says goes before what the pod says.
func (s *starting) secure(ctx context.Context, spec *runtime.ContainerSpec, img runtime.Image) error {
	pod, own := s.pod.Spec.SecurityContext, s.c.SecurityContext
	if pod == nil {
		pod = &corev1.PodSecurityContext{}
	}
	if own == nil {
		own = &corev1.SecurityContext{}
	}
	user, group := first(own.RunAsUser, pod.RunAsUser), first(own.RunAsGroup, pod.RunAsGroup)
	var err error
	if spec.User, spec.Groups, err = s.identity(ctx, user, group, img); err != nil {
		return err
	}
	if nonRoot := first(own.RunAsNonRoot, pod.RunAsNonRoot); nonRoot != nil && *nonRoot {
		if err := verifyNonRoot(s.pod, s.c.Name, user, img.User); err != nil {
			return err
		}
	}
	spec.Privileged = isTrue(own.Privileged)
	spec.ReadOnlyRootFS = isTrue(own.ReadOnlyRootFilesystem)
	spec.NoNewPrivileges = own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation
	spec.UnmaskProc = own.ProcMount != nil && *own.ProcMount == corev1.UnmaskedProcMount
	if own.Capabilities != nil {
		spec.CapAdd, spec.CapDrop = capabilities(own.Capabilities.Add), capabilities(own.Capabilities.Drop)
	}
	if spec.AppArmor, err = appArmor(first(own.AppArmorProfile, pod.AppArmorProfile)); err != nil {
		return err
	}
	spec.Seccomp, err = s.seccomp(first(own.SeccompProfile, pod.SeccompProfile))
	return err
}

func first[T any](own, pod *T) *T {
	if own != nil {
		return own
	}
	return pod
}

func isTrue(b *bool) bool { return b != nil && *b }

// userSpec is "uid", "uid:gid", or empty for the image's own user. A group alone goes with that one.
func userSpec(user, group *int64, image string) string {
	out := ""
	if user != nil {
		out = strconv.FormatInt(*user, 10)
	} else if group != nil {
		out, _, _ = strings.Cut(image, ":")
		if out == "" {
			out = "0"
		}
	}
	if group != nil {
		out += ":" + strconv.FormatInt(*group, 10)
	}
	return out
}

func verifyNonRoot(pod *corev1.Pod, container string, user *int64, image string) error {
	where := fmt.Sprintf("(pod: %q, container: %s)", pod.Name+"_"+pod.Namespace+"("+string(pod.UID)+")", container)
	if user != nil {
		if *user == 0 {
			return fmt.Errorf("container's runAsUser breaks non-root policy %s", where)
		}
		return nil
	}
	name, _, _ := strings.Cut(image, ":")
	uid, err := strconv.ParseInt(name, 10, 64)
	switch {
	case name == "" || name == "root" || err == nil && uid == 0:
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)
	case err != nil:
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", name, where)
	}
	return nil
}

func capabilities(list []corev1.Capability) []string {
	out := make([]string, 0, len(list))
	for _, c := range list {
		out = append(out, strings.TrimPrefix(strings.ToUpper(string(c)), "CAP_"))
	}
	return out
}

func appArmor(p *corev1.AppArmorProfile) (string, error) {
	switch {
	case p == nil:
	case p.Type == corev1.AppArmorProfileTypeUnconfined:
		return "unconfined", nil
	case p.Type == corev1.AppArmorProfileTypeLocalhost && p.LocalhostProfile != nil:
		if !machine.HasProfile(*p.LocalhostProfile) {
			return "", fmt.Errorf("apparmor profile not found %s", *p.LocalhostProfile)
		}
		return *p.LocalhostProfile, nil
	}
	return "", nil
}

// seccomp returns what the engine takes. Where the pod says nothing, the engine's own profile applies.
func (s *starting) seccomp(p *corev1.SeccompProfile) (string, error) {
	switch {
	case p == nil || p.Type == corev1.SeccompProfileTypeRuntimeDefault:
		return "", nil
	case p.Type == corev1.SeccompProfileTypeUnconfined:
		return "unconfined", nil
	case p.LocalhostProfile == nil:
		return "", errors.New("a Localhost seccomp profile needs localhostProfile")
	}
	profile, err := os.ReadFile(filepath.Join(s.pool.cfg.SeccompRoot, filepath.Clean("/"+*p.LocalhostProfile)))
	if err != nil {
		return "", fmt.Errorf("read seccomp profile: %w", err)
	}
	return string(profile), nil
}
