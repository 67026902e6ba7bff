package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// SubPath returns a host path for a subPath of a volume. The path is opened without leaving the volume, whatever
// symbolic links a container has put there, and what was opened is bound to a folder of the agent's own: it cannot be
// exchanged between this check and the mount.
func (m *Manager) SubPath(uid, container string, index int, volume, subPath string) (string, error) {
	if m.root == "" {
		return "", nil
	}
	root, err := os.OpenRoot(volume)
	if err != nil {
		return "", fmt.Errorf("open the volume: %w", err)
	}
	defer root.Close()
	f, err := root.Open(subPath)
	if errors.Is(err, os.ErrNotExist) {
		if err := root.MkdirAll(subPath, 0o750); err != nil {
			return "", fmt.Errorf("failed to create subPath directory %q: %w", subPath, err)
		}
		f, err = root.Open(subPath)
	}
	if err != nil {
		return "", fmt.Errorf("failed to prepare subPath %q: %w", subPath, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("look at subPath %q: %w", subPath, err)
	}
	target := filepath.Join(m.podDir(uid), "subpaths", container, strconv.Itoa(index))
	if err := mountPoint(target, info.IsDir()); err != nil {
		return "", err
	}
	source := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return "", fmt.Errorf("bind subPath %q: %w", subPath, err)
	}
	return target, nil
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
