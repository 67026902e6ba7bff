package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/internal/volume"
)

// sources is every supported kind of persistent volume: which one a specification is, and how it is prepared.
var sources = []struct {
	is      func(*corev1.PersistentVolumeSource) bool
	prepare func(*Manager, context.Context, *request, *corev1.PersistentVolume) (path string, err error)
}{
	{func(s *corev1.PersistentVolumeSource) bool { return s.Local != nil }, (*Manager).local},
	{func(s *corev1.PersistentVolumeSource) bool { return s.HostPath != nil }, (*Manager).persistentHostPath},
	{func(s *corev1.PersistentVolumeSource) bool { return s.NFS != nil }, (*Manager).persistentNFS},
}

// claim prepares the volume that a claim has been bound to.
func (m *Manager) claim(ctx context.Context, r *request) (string, error) {
	v, err := m.boundVolume(r)
	if err != nil {
		return "", err
	}
	if src := r.spec.PersistentVolumeClaim; src != nil {
		r.readOnly = src.ReadOnly
	}
	for _, kind := range sources {
		if !kind.is(&v.Spec.PersistentVolumeSource) {
			continue
		}
		path, err := kind.prepare(m, ctx, r, v)
		if err != nil || volume.Mode(v.Spec.VolumeMode) != corev1.PersistentVolumeBlock {
			return path, err
		}
		return path, isBlockDevice(path)
	}
	return "", fmt.Errorf("volumes of the kind of %q cannot be mounted here: no plugin for them", v.Name)
}

// boundVolume finds a claim's volume and makes sure that the two belong together.
func (m *Manager) boundVolume(r *request) (*corev1.PersistentVolume, error) {
	name := volume.ClaimName(r.pod, r.spec)
	c := m.objects.Claim(r.pod.Namespace, name)
	switch {
	case c == nil:
		return nil, fmt.Errorf("persistentvolumeclaim %q not found", name)
	case r.spec.Ephemeral != nil && !volume.OwnedBy(c, r.pod):
		return nil, fmt.Errorf("PVC %q was not created for pod %q (pod is not owner)", c.Namespace+"/"+c.Name, r.pod.Namespace+"/"+r.pod.Name)
	case c.Spec.VolumeName == "" || c.Status.Phase != corev1.ClaimBound:
		return nil, errors.New("PVC is not bound")
	}
	v := m.objects.Volume(c.Spec.VolumeName)
	switch {
	case v == nil:
		return nil, fmt.Errorf("persistentvolume %q not found", c.Spec.VolumeName)
	case v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID != c.UID:
		return nil, fmt.Errorf("volume %q is not bound to claim %q", v.Name, c.Namespace+"/"+c.Name)
	}
	r.block = volume.Mode(v.Spec.VolumeMode) == corev1.PersistentVolumeBlock
	return v, nil
}

// local uses a folder, or a device, of this node.
func (m *Manager) local(ctx context.Context, r *request, v *corev1.PersistentVolume) (string, error) {
	if volume.IsLocalFolder(v) {
		path, err := m.folders.Make(v)
		if err != nil {
			return "", err
		}
		return path, m.giveToGroup(ctx, r, path)
	}
	path, err := filepath.EvalSymlinks(v.Spec.Local.Path)
	if err != nil {
		return "", fmt.Errorf("path %q does not exist", v.Spec.Local.Path)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("look at %s: %w", path, err)
	case r.block:
		return path, nil
	case info.IsDir():
		return path, m.giveToGroup(ctx, r, path)
	case info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0:
		fsType := ""
		if v.Spec.Local.FSType != nil {
			fsType = *v.Spec.Local.FSType
		}
		if err := mountDevice(ctx, path, r.dir, fsType, v.Spec.MountOptions); err != nil {
			return "", err
		}
		return r.dir, m.giveToGroup(ctx, r, r.dir)
	}
	return "", fmt.Errorf("%s is neither a directory nor a block device", path)
}

func (m *Manager) persistentHostPath(_ context.Context, r *request, v *corev1.PersistentVolume) (string, error) {
	if r.block {
		return filepath.EvalSymlinks(v.Spec.HostPath.Path)
	}
	return preparePath(v.Spec.HostPath)
}

func (m *Manager) persistentNFS(ctx context.Context, r *request, v *corev1.PersistentVolume) (string, error) {
	r.readOnly = r.readOnly || v.Spec.NFS.ReadOnly
	r.server = v.Spec.NFS.Server
	return r.dir, mountNFS(ctx, v.Spec.NFS, r.dir, v.Spec.MountOptions)
}

// nfs is a pod's own NFS volume.
func (m *Manager) nfs(ctx context.Context, r *request) (string, error) {
	r.readOnly, r.server = r.spec.NFS.ReadOnly, r.spec.NFS.Server
	return r.dir, mountNFS(ctx, r.spec.NFS, r.dir, nil)
}

func isBlockDevice(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("look at %s: %w", path, err)
	case info.Mode()&os.ModeDevice == 0 || info.Mode()&os.ModeCharDevice != 0:
		return fmt.Errorf("%s is not a block device", path)
	}
	return nil
}
