package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// longestPath is the kernel's bound: nobody needs what lies deeper.
const longestPath = 4096

// giveToGroup gives everything in a volume to the pod's fsGroup, once in the pod's life. With the policy OnRootMismatch
// it is done only when the volume's own folder is not the group's yet.
func (m *Manager) giveToGroup(ctx context.Context, r *request, path string) error {
	gid, ok := fsGroup(r.pod)
	if !ok || r.readOnly {
		return nil
	}
	done := filepath.Join(m.podDir(string(r.pod.UID)), "given-"+r.spec.Name)
	if _, err := os.Lstat(done); err == nil {
		return nil
	}
	policy := r.pod.Spec.SecurityContext.FSGroupChangePolicy
	if policy == nil || *policy != corev1.FSGroupChangeOnRootMismatch || !belongsTo(path, gid) {
		if err := giveAll(ctx, path, gid); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(done), 0o755); err != nil {
		return fmt.Errorf("make the pod's folder: %w", err)
	}
	return os.WriteFile(done, nil, 0o600)
}

func belongsTo(path string, gid int) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	const needed = os.ModeSetgid | 0o070
	return ok && int(st.Gid) == gid && info.Mode()&needed == needed
}

// giveAll walks through an open folder, so that a link that a container puts in the way leads nowhere else. The root
// comes last: it tells that all the rest is done.
func giveAll(ctx context.Context, path string, gid int) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return fmt.Errorf("open the volume: %w", err)
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil || name == ".":
			return ignoreGone(err)
		case len(name) > longestPath:
			return fmt.Errorf("folders are nested too deep: %.100s…", name)
		}
		return ignoreGone(give(root, name, entry.Type(), gid))
	})
	if err == nil {
		err = give(root, ".", fs.ModeDir, gid)
	}
	if err != nil {
		return fmt.Errorf("give the volume to fsGroup %d: %w", gid, err)
	}
	return nil
}

func give(root *os.Root, name string, kind fs.FileMode, gid int) error {
	if err := root.Lchown(name, -1, gid); err != nil {
		return err
	}
	if kind&fs.ModeSymlink != 0 {
		return nil
	}
	info, err := root.Lstat(name)
	if err != nil || info.Mode()&fs.ModeSymlink != 0 {
		return err
	}
	mode := info.Mode() | 0o060
	if info.IsDir() {
		mode |= 0o110 | os.ModeSetgid
	}
	return root.Chmod(name, mode)
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
