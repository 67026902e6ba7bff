package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Place is one mount of one container. What the agent prepares for it lies where nothing else does.
type Place struct {
	UID, Container string
	Index          int
}

func (m *Manager) place(kind string, p Place) string {
	return filepath.Join(m.podDir(p.UID), kind, p.Container, strconv.Itoa(p.Index))
}

// SubPath returns a host path for a subPath of a volume. The path is opened without leaving the volume, whatever
// symbolic links a container has put there, and what was opened is bound to a folder of the agent's own: it cannot be
// exchanged between this check and the mount.
func (m *Manager) SubPath(p Place, volume, subPath string) (string, error) {
	if m.root == "" {
		return "", nil
	}
	if filepath.IsAbs(subPath) || strings.Contains("/"+subPath+"/", "/../") {
		return "", fmt.Errorf("subPath %q must be relative and must not contain '..'", subPath)
	}
	info, err := os.Stat(volume)
	if err != nil {
		return "", fmt.Errorf("look at the volume: %w", err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("not a directory: subPath %q of a volume that is a file", subPath)
	}
	root, err := os.OpenRoot(volume)
	if err != nil {
		return "", fmt.Errorf("open the volume: %w", err)
	}
	defer root.Close()
	fd, err := openBeneath(root, subPath)
	if errors.Is(err, os.ErrNotExist) {
		// As the volume itself is, so that whoever may use that may use this.
		if err := makeBeneath(root, subPath, info.Mode()); err != nil {
			return "", fmt.Errorf("make %q: %w", subPath, err)
		}
		fd, err = openBeneath(root, subPath)
	}
	if err != nil {
		return "", fmt.Errorf("open %q: %w", subPath, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", fmt.Errorf("look at subPath %q: %w", subPath, err)
	}
	target := m.place("subpaths", p)
	if err := mountPoint(target, st.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
		return "", err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return "", fmt.Errorf("bind subPath %q: %w", subPath, err)
	}
	return target, nil
}

// openBeneath opens a path that must not leave root, without reading anything: a pipe or device that a container has
// put there is not touched.
func openBeneath(root *os.Root, path string) (int, error) {
	dir, err := root.Open(".")
	if err != nil {
		return -1, err
	}
	defer dir.Close()
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(int(dir.Fd()), path, how)
		switch {
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			continue // something was renamed meanwhile, and the kernel could not tell
		case errors.Is(err, unix.EXDEV):
			return -1, errors.New("it leads out of the volume")
		case errors.Is(err, unix.ENOSYS):
			return openSlowly(root, path)
		}
		return fd, err
	}
}

// openSlowly is for kernels before 5.6. It does open what is there, but does not wait for a pipe's other end.
func openSlowly(root *os.Root, path string) (int, error) {
	f, err := root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, err
	}
	defer f.Close()
	return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

// makeBeneath makes the folders of a path that are missing, with a mode that the umask has no part in.
func makeBeneath(root *os.Root, path string, mode os.FileMode) error {
	made := ""
	for part := range strings.SplitSeq(filepath.Clean(path), "/") {
		made = filepath.Join(made, part)
		err := root.Mkdir(made, 0o750)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := root.Chmod(made, mode&(os.ModePerm|os.ModeSetgid)); err != nil {
			return err
		}
	}
	return nil
}

// RecursiveReadOnly returns a host path where a folder, and everything mounted below it, is read-only.
func (m *Manager) RecursiveReadOnly(p Place, source string, mode corev1.RecursiveReadOnlyMode) (string, error) {
	if m.root == "" || mode == corev1.RecursiveReadOnlyDisabled {
		return source, nil
	}
	info, err := os.Stat(source)
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", source, err)
	}
	target := m.place("readonly", p)
	if err := mountPoint(target, info.IsDir()); err != nil {
		return "", err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return "", fmt.Errorf("bind %s: %w", source, err)
	}
	// First on its own, then read-only: what is mounted there for others stays as it is.
	err = unix.MountSetattr(unix.AT_FDCWD, target, unix.AT_RECURSIVE|unix.AT_SYMLINK_NOFOLLOW, &unix.MountAttr{Propagation: unix.MS_PRIVATE})
	if err == nil {
		err = unix.MountSetattr(unix.AT_FDCWD, target, unix.AT_RECURSIVE|unix.AT_SYMLINK_NOFOLLOW, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
	switch {
	case err == nil:
		return target, nil
	case mode == corev1.RecursiveReadOnlyIfPossible:
		return source, nil
	}
	return "", fmt.Errorf("recursive read-only mounts are not possible here: %w", err)
}

// RecursiveReadOnlyPossible says whether this machine's kernel can do what RecursiveReadOnly does.
func RecursiveReadOnlyPossible() bool {
	return !errors.Is(unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{}), unix.ENOSYS)
}

// mountPoint makes an empty place to mount on; what an earlier attempt mounted there is taken away.
func mountPoint(target string, dir bool) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return fmt.Errorf("make a mount point: %w", err)
	}
	for unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
		continue
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("clear a mount point: %w", err)
	}
	if dir {
		return os.Mkdir(target, 0o755)
	}
	return os.WriteFile(target, nil, 0o644)
}
