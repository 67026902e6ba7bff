package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// Folders are the volumes that the node keeps, as folders of its own. They outlive pods, and the agent.
type Folders struct{ root string }

// NewFolders returns the folders below root; an empty root pretends.
func NewFolders(root string) *Folders { return &Folders{root} }

// name is a volume's folder, if it is one that lies where it may: what is removed is decided here, not by who wrote
// the volume's path.
func (f *Folders) name(v *corev1.PersistentVolume) (string, error) {
	if v.Spec.Local == nil || filepath.Clean(v.Spec.Local.Path) != v.Spec.Local.Path || filepath.Dir(v.Spec.Local.Path) != f.root {
		return "", fmt.Errorf("volume %q is not one of the folders in %s", v.Name, f.root)
	}
	return filepath.Base(v.Spec.Local.Path), nil
}

// Make makes a volume's folder unless it is there, and returns its path. Everybody may write in it: who its pod runs as
// is not known. Nobody but root gets so far on the host, since the folder around it is root's.
func (f *Folders) Make(v *corev1.PersistentVolume) (string, error) {
	name, err := f.name(v)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(f.root, 0o700); err != nil {
		return "", fmt.Errorf("make the folder of volumes: %w", err)
	}
	path := filepath.Join(f.root, name)
	switch err := os.Mkdir(path, 0o777); {
	case errors.Is(err, os.ErrExist):
		return path, nil
	case err != nil:
		return "", fmt.Errorf("make the folder of volume %q: %w", v.Name, err)
	}
	return path, os.Chmod(path, 0o777) // whatever the umask
}

// Release unmounts whatever containers have left mounted in the folders.
func (f *Folders) Release() error { return Unmount(f.root) }

// Remove removes a volume's folder and what is in it, but nothing that is mounted in there. When ctx ends before it is
// done, the rest is left to another call.
func (f *Folders) Remove(ctx context.Context, v *corev1.PersistentVolume) error {
	if f.root == "" {
		return nil
	}
	name, err := f.name(v)
	if err != nil {
		return err
	}
	if err := Unmount(filepath.Join(f.root, name)); err != nil {
		return err
	}
	root, err := os.OpenRoot(f.root)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the folder of volumes: %w", err)
	}
	defer root.Close()
	if err := removeAll(ctx, root, name); err != nil {
		return fmt.Errorf("remove the folder of volume %q: %w", v.Name, err)
	}
	return nil
}
