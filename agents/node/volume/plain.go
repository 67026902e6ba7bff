package volume

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

func (m *Manager) emptyDir(_ context.Context, r *request) (string, error) {
	if err := os.MkdirAll(r.dir, 0o777); err != nil {
		return "", fmt.Errorf("make the folder: %w", err)
	}
	if src := r.spec.EmptyDir; src.Medium == corev1.StorageMediumMemory {
		options := "mode=0777"
		if src.SizeLimit != nil && !src.SizeLimit.IsZero() {
			options += ",size=" + strconv.FormatInt(src.SizeLimit.Value(), 10)
		}
		if err := mountTmpfs(r.dir, options); err != nil {
			return "", err
		}
	}
	return r.dir, own(r.pod, r.dir, 0o777)
}

// own gives a folder its mode, whatever the process's umask, and the pod's fsGroup.
func own(pod *corev1.Pod, dir string, mode os.FileMode) error {
	if gid, ok := fsGroup(pod); ok {
		if err := os.Chown(dir, -1, gid); err != nil {
			return fmt.Errorf("give the folder to fsGroup %d: %w", gid, err)
		}
		mode |= 0o070 | os.ModeSetgid
	}
	if err := os.Chmod(dir, mode); err != nil {
		return fmt.Errorf("set the folder's mode: %w", err)
	}
	return nil
}

func fsGroup(pod *corev1.Pod) (int, bool) {
	if sc := pod.Spec.SecurityContext; sc != nil && sc.FSGroup != nil {
		return int(*sc.FSGroup), true
	}
	return 0, false
}

// hostPathTypes says what must be at a hostPath of each type, and how it is made where it may be.
var hostPathTypes = map[corev1.HostPathType]struct {
	is   func(os.FileMode) bool
	what string
	make func(path string) error
}{
	corev1.HostPathDirectory:         {os.FileMode.IsDir, "a directory", nil},
	corev1.HostPathDirectoryOrCreate: {os.FileMode.IsDir, "a directory", func(p string) error { return os.MkdirAll(p, 0o755) }},
	corev1.HostPathFile:              {os.FileMode.IsRegular, "a file", nil},
	corev1.HostPathFileOrCreate:      {os.FileMode.IsRegular, "a file", func(p string) error { return os.WriteFile(p, nil, 0o644) }},
	corev1.HostPathSocket:            {func(m os.FileMode) bool { return m&os.ModeSocket != 0 }, "a socket", nil},
	corev1.HostPathCharDev:           {func(m os.FileMode) bool { return m&os.ModeCharDevice != 0 }, "a character device", nil},
	corev1.HostPathBlockDev:          {func(m os.FileMode) bool { return m&os.ModeDevice != 0 && m&os.ModeCharDevice == 0 }, "a block device", nil},
}

func (m *Manager) hostPath(_ context.Context, r *request) (string, error) {
	return preparePath(r.spec.HostPath)
}

// preparePath checks a path of the host, and makes what may be made there.
func preparePath(src *corev1.HostPathVolumeSource) (string, error) {
	path := filepath.Clean(src.Path)
	kind := corev1.HostPathUnset
	if src.Type != nil {
		kind = *src.Type
	}
	rule, checked := hostPathTypes[kind]
	info, err := os.Stat(path)
	if !checked {
		if os.IsNotExist(err) {
			err = os.MkdirAll(path, 0o755) // as the engine would
		}
		return path, err
	}
	if os.IsNotExist(err) && rule.make != nil {
		if err := rule.make(path); err != nil {
			return "", fmt.Errorf("make %s: %w", path, err)
		}
		info, err = os.Stat(path)
	}
	if err != nil || !rule.is(info.Mode()) {
		return "", fmt.Errorf("hostPath type check failed: %s is not %s", path, rule.what)
	}
	return path, nil
}
