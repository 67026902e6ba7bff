package volume

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// dataLink is the link that is swapped: readers see all of the old content or all of the new.
const dataLink = "..data"

// write makes a volume's content what it should be. The files lie in a folder named after their digest; ..data points
// to it, and each visible name points through ..data. So an unchanged volume is recognised by its link alone, and a
// folder that no link points to is the remains of a write that was cut off.
func write(pod *corev1.Pod, dir string, c content, inMemory bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	if inMemory {
		if err := mountTmpfs(dir, "mode=0755"); err != nil {
			return err
		}
	}
	if err := own(pod, dir, 0o755); err != nil {
		return err
	}
	name := ".." + c.digest(pod)
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err == nil && old == name {
		return nil
	}
	if err := c.writeTo(pod, filepath.Join(dir, name)); err != nil {
		return err
	}
	if err := swap(dir, dataLink, name); err != nil {
		return err
	}
	if err := c.link(dir); err != nil {
		return err
	}
	if old != "" && old != name {
		return os.RemoveAll(filepath.Join(dir, old))
	}
	return nil
}

// swap points a link to another target in one step.
func swap(dir, link, target string) error {
	next := filepath.Join(dir, link+"_next")
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", next, err)
	}
	if err := os.Symlink(target, next); err != nil {
		return fmt.Errorf("link %s: %w", target, err)
	}
	if err := os.Rename(next, filepath.Join(dir, link)); err != nil {
		return fmt.Errorf("swap %s: %w", link, err)
	}
	return nil
}

func (c content) digest(pod *corev1.Pod) string {
	h := sha256.New()
	gid, _ := fsGroup(pod)
	for _, name := range slices.Sorted(maps.Keys(c)) {
		user, _ := c[name].owner()
		fmt.Fprintf(h, "%q %o %d %d %d\n", name, c[name].mode, user, gid, len(c[name].data))
		h.Write(c[name].data)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

func (c content) writeTo(pod *corev1.Pod, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the remains of an earlier write: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	gid, grouped := fsGroup(pod)
	if !grouped {
		gid = -1
	}
	for name, f := range c {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make the folder of %s: %w", name, err)
		}
		mode := os.FileMode(f.mode) & os.ModePerm
		if grouped {
			mode |= 0o040
		}
		if err := os.WriteFile(path, f.data, mode); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := os.Chmod(path, mode); err != nil {
			return fmt.Errorf("set the mode of %s: %w", name, err)
		}
		if user, owned := f.owner(); owned || grouped {
			if err := os.Chown(path, user, gid); err != nil {
				return fmt.Errorf("give %s to user %d and fsGroup %d: %w", name, user, gid, err)
			}
		}
	}
	return nil
}

// owner is the user that a file belongs to; -1 when that is not to be changed.
func (f file) owner() (user int, owned bool) {
	if f.user == nil {
		return -1, false
	}
	return int(*f.user), true
}

// link makes the visible names: those that are missing are added, those that lead nowhere are removed.
func (c content) link(dir string) error {
	want := map[string]bool{}
	for name := range c {
		top, _, _ := strings.Cut(name, "/")
		want[top] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read the volume: %w", err)
	}
	for _, e := range entries {
		switch {
		case want[e.Name()]:
			delete(want, e.Name())
		case !strings.HasPrefix(e.Name(), ".."):
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("remove %s: %w", e.Name(), err)
			}
		}
	}
	for top := range want {
		if err := os.Symlink(filepath.Join(dataLink, top), filepath.Join(dir, top)); err != nil {
			return fmt.Errorf("link %s: %w", top, err)
		}
	}
	return nil
}
