package podspec

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// validateMounts checks where a container sees volumes, as directories and as devices.
func (s *scope) validateMounts(p *field.Path, c *corev1.Container) {
	paths, devicePaths, deviceNames := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, d := range c.VolumeDevices {
		devicePaths[d.DevicePath], deviceNames[d.Name] = true, true
	}
	for i := range c.VolumeMounts {
		m, at := &c.VolumeMounts[i], p.Child("volumeMounts").Index(i)
		s.volumeNamed(at.Child("name"), m.Name)
		if s.NotEmpty(at.Child("mountPath"), m.MountPath) {
			s.If(paths[m.MountPath], at.Child("mountPath"), m.MountPath, "must be unique")
		}
		paths[m.MountPath] = true
		s.If(deviceNames[m.Name], at.Child("name"), m.Name, "must not already exist in volumeDevices")
		s.If(devicePaths[m.MountPath], at.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices")
		s.validateSubPath(at, m)
		s.validatePropagation(at, m, c)
	}
	s.validateDevices(p.Child("volumeDevices"), c, paths)
}

func (s *scope) volumeNamed(p *field.Path, name string) {
	s.NotEmpty(p, name)
	if s.volumes[name] == nil {
		s.Add(field.NotFound(p, name))
	}
}

func (s *scope) validateSubPath(p *field.Path, m *corev1.VolumeMount) {
	if m.SubPath != "" {
		s.descendingPath(p.Child("subPath"), m.SubPath)
	}
	if m.SubPathExpr != "" {
		s.If(m.SubPath != "", p.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive")
		s.descendingPath(p.Child("subPathExpr"), m.SubPathExpr)
	}
}

func (s *scope) validatePropagation(p *field.Path, m *corev1.VolumeMount, c *corev1.Container) {
	if m.MountPropagation != nil {
		at := p.Child("mountPropagation")
		check.Among(s.Errors, at, *m.MountPropagation,
			corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)
		if *m.MountPropagation == corev1.MountPropagationBidirectional && !isPrivileged(c) {
			s.Forbidden(at, "Bidirectional mount propagation is available only to privileged containers")
		}
	}
	r := m.RecursiveReadOnly
	if r == nil {
		return
	}
	at := p.Child("recursiveReadOnly")
	if !check.Among(s.Errors, at, *r, corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible) || *r == corev1.RecursiveReadOnlyDisabled {
		return
	}
	if !m.ReadOnly {
		s.Forbidden(at, "may only be specified when readOnly is true")
	}
	if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
		s.Forbidden(at, "may only be specified when mountPropagation is None or not specified")
	}
}

func (s *scope) validateDevices(p *field.Path, c *corev1.Container, mountPaths map[string]bool) {
	paths, names, mounted := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, m := range c.VolumeMounts {
		mounted[m.Name] = true
	}
	for i, d := range c.VolumeDevices {
		at := p.Index(i)
		s.NotEmpty(at.Child("name"), d.Name)
		s.If(names[d.Name], at.Child("name"), d.Name, "must be unique")
		if v := s.volumes[d.Name]; v == nil {
			s.Add(field.NotFound(at.Child("name"), d.Name))
		} else if v.PersistentVolumeClaim == nil && v.Ephemeral == nil {
			s.Invalid(at.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
		}
		if s.NotEmpty(at.Child("devicePath"), d.DevicePath) {
			s.If(paths[d.DevicePath], at.Child("devicePath"), d.DevicePath, "must be unique")
			s.noBacksteps(at.Child("devicePath"), d.DevicePath)
		}
		s.If(mounted[d.Name], at.Child("name"), d.Name, "must not already exist in volumeMounts")
		s.If(mountPaths[d.DevicePath], at.Child("devicePath"), d.DevicePath, "must not already exist as a path in volumeMounts")
		paths[d.DevicePath], names[d.Name] = true, true
	}
}

// descendingPath reports a path that does not stay below where it starts.
func (s *scope) descendingPath(p *field.Path, value string) {
	s.If(path.IsAbs(value), p, value, "must be a relative path")
	s.noBacksteps(p, value)
}

// reservedPath is a descendingPath that the atomic update of a volume leaves alone.
func (s *scope) reservedPath(p *field.Path, value string) {
	s.descendingPath(p, value)
	// The plain ".." has been reported already.
	s.If(strings.HasPrefix(value, "..") && !strings.HasPrefix(value, "../"), p, value, "must not start with '..'")
}

func (s *scope) noBacksteps(p *field.Path, value string) {
	s.If(slices.Contains(strings.Split(value, "/"), ".."), p, value, "must not contain '..'")
}
