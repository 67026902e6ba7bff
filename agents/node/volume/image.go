package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// imageFlags are how image volumes are mounted: nothing in them is to be run or changed.
const imageFlags = unix.MS_RDONLY | unix.MS_NOEXEC | unix.MS_NOSUID | unix.MS_NODEV

// image shows the files of an image.
func (m *Manager) image(_ context.Context, r *request) (string, error) {
	if len(r.layers) == 0 {
		return "", errors.New("the container engine does not say where it keeps the files of images")
	}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return "", fmt.Errorf("make a mount point: %w", err)
	}
	points, err := mountPoints(r.dir)
	if err != nil || len(points) > 0 {
		return r.dir, err
	}
	if len(r.layers) == 1 {
		return r.dir, bindReadOnly(r.layers[0], r.dir)
	}
	return r.dir, mountLayers(r.layers, r.dir)
}

func bindReadOnly(source, dir string) error {
	if err := unix.Mount(source, dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind the image's files: %w", err)
	}
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|imageFlags, ""); err != nil {
		return errors.Join(fmt.Errorf("make the image's files read-only: %w", err), unix.Unmount(dir, unix.MNT_DETACH))
	}
	return nil
}

// mountLayers lays an image's layers over each other. Few fit into the options of a mount, which must not be longer
// than a page; otherwise they are given one by one, as newer kernels allow.
func mountLayers(layers []string, dir string) error {
	options := "lowerdir=" + strings.Join(layers, ":")
	if len(options) < os.Getpagesize() {
		if err := unix.Mount("overlay", dir, "overlay", imageFlags, options); err != nil {
			return fmt.Errorf("lay the image's layers over each other: %w", err)
		}
		return nil
	}
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("lay %d layers over each other: %w", len(layers), err)
	}
	defer unix.Close(fs)
	for _, layer := range layers {
		if err := unix.FsconfigSetString(fs, "lowerdir+", layer); err != nil {
			return fmt.Errorf("lay %d layers over each other: %w", len(layers), err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("lay %d layers over each other: %w", len(layers), err)
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return fmt.Errorf("mount %d layers: %w", len(layers), err)
	}
	defer unix.Close(mount)
	if err := unix.MoveMount(mount, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %d layers: %w", len(layers), err)
	}
	return nil
}
