package volume

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func (m *Manager) emptyDir(_ context.Context, r *request) (string, error) {
	if err := os.MkdirAll(r.dir, 0o777); err != nil {
		return "", fmt.Errorf("make the folder: %w", err)
	}
	switch medium := r.spec.EmptyDir.Medium; {
	case medium == corev1.StorageMediumDefault:
	case medium == corev1.StorageMediumMemory:
		options := "mode=01777"
		if size := memorySize(r.pod, r.spec.EmptyDir, r.facts.Allocatable.Memory().Value()); size > 0 {
			options += ",size=" + strconv.FormatInt(size, 10)
		}
		if err := mountTmpfs(r.dir, options); err != nil {
			return "", err
		}
	case strings.HasPrefix(string(medium), string(corev1.StorageMediumHugePages)):
		size, err := pageSize(r.pod, medium)
		if err != nil {
			return "", err
		}
		if err := mountFresh("hugetlbfs", r.dir, "mode=0777,pagesize="+strconv.FormatInt(size, 10)); err != nil {
			return "", err
		}
	default:
		return "", fmt.Errorf("unknown storage medium %q", medium)
	}
	mode := os.FileMode(0o777)
	if r.spec.EmptyDir.Medium == corev1.StorageMediumMemory {
		mode |= os.ModeSticky
	}
	return r.dir, own(r.pod, r.dir, mode)
}

// memorySize bounds a volume in memory: by its own limit, by what the pod may use at all, by what the node has; 0 for
// no bound.
func memorySize(pod *corev1.Pod, src *corev1.EmptyDirVolumeSource, allocatable int64) int64 {
	size := allocatable
	bound := func(limit int64) {
		if limit > 0 && (size == 0 || limit < size) {
			size = limit
		}
	}
	total := int64(0)
	for i := range pod.Spec.Containers {
		total += pod.Spec.Containers[i].Resources.Limits.Memory().Value()
	}
	if pod.Spec.Resources != nil && !pod.Spec.Resources.Limits.Memory().IsZero() {
		total = pod.Spec.Resources.Limits.Memory().Value()
	}
	bound(total)
	if src.SizeLimit != nil {
		bound(src.SizeLimit.Value())
	}
	return size
}

// pageSize is the size of huge pages that a volume is made of: the medium's, or the one that the pod asks for.
func pageSize(pod *corev1.Pod, medium corev1.StorageMedium) (int64, error) {
	sizes := map[string]bool{}
	if text, ok := strings.CutPrefix(string(medium), string(corev1.StorageMediumHugePagesPrefix)); ok {
		sizes[text] = true
	} else {
		for i := range pod.Spec.Containers {
			for name := range pod.Spec.Containers[i].Resources.Limits {
				if text, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok {
					sizes[text] = true
				}
			}
		}
	}
	if len(sizes) != 1 {
		return 0, fmt.Errorf("medium %s needs a pod that asks for huge pages of one size", medium)
	}
	for text := range sizes {
		size, err := resource.ParseQuantity(text)
		if err != nil {
			return 0, fmt.Errorf("size of huge pages %q: %w", text, err)
		}
		return size.Value(), nil
	}
	return 0, nil
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
	corev1.HostPathSocket:            {func(m os.FileMode) bool { return m&os.ModeSocket != 0 }, "a socket file", nil},
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
	switch {
	case os.IsNotExist(err):
		return "", fmt.Errorf("hostPath type check failed, %s is not %s, unable to determine its type: path %q does not exist", path, rule.what, path)
	case err != nil:
		return "", fmt.Errorf("hostPath type check failed, %s is not %s, unable to determine its type: %w", path, rule.what, err)
	case !rule.is(info.Mode()):
		return "", fmt.Errorf("hostPath type check failed: %s is not %s, it's a %s", path, rule.what, hostPathType(info.Mode()))
	}
	return path, nil
}

// hostPathType is the type that what is at a path has.
func hostPathType(mode os.FileMode) corev1.HostPathType {
	for _, kind := range []corev1.HostPathType{
		corev1.HostPathDirectory, corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev,
	} {
		if hostPathTypes[kind].is(mode) {
			return kind
		}
	}
	return "special file"
}
