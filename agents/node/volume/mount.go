package volume

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// InMemory makes a folder that lies in memory and that only the agent may enter.
func InMemory(dir string, size int64) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	return mountTmpfs(dir, fmt.Sprintf("mode=0700,size=%d", size))
}

// Unmount takes away whatever is mounted on a folder and below it.
func Unmount(dir string) error {
	_, err := unmountBelow(dir)
	return err
}

// mountTmpfs puts a folder into memory, unless it is there already; what lies there is never swapped to disk, where the
// kernel can promise that (6.4 and later).
func mountTmpfs(dir, options string) error {
	err := mountFresh("tmpfs", dir, options+",noswap")
	if errors.Is(err, unix.EINVAL) {
		return mountFresh("tmpfs", dir, options)
	}
	return err
}

// mountFresh mounts a file system that begins empty, unless something is mounted there already.
func mountFresh(kind, dir, options string) error {
	mounted, err := isMounted(dir)
	if err != nil || mounted {
		return err
	}
	if err := unix.Mount(kind, dir, kind, unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", kind, dir, err)
	}
	return nil
}

// isMounted tells whether something is mounted right on a folder: then it is on another device than its parent.
func isMounted(dir string) (bool, error) {
	var self, parent unix.Stat_t
	if err := unix.Lstat(dir, &self); err != nil {
		return false, fmt.Errorf("look at %s: %w", dir, err)
	}
	if err := unix.Lstat(dir+"/..", &parent); err != nil {
		return false, fmt.Errorf("look at the parent of %s: %w", dir, err)
	}
	return self.Dev != parent.Dev, nil
}

// mountPoints returns what is mounted on a folder and below it, in the order in which it was mounted. It asks the kernel
// and not the folders: a server that does not answer would not let go of who looks at its folder.
func mountPoints(dir string) ([]string, error) {
	// The kernel knows no symbolic links.
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find mounts: %w", err)
	}
	dir = filepath.Join(parent, filepath.Base(dir))
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	defer f.Close()
	var points []string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 4 {
			if point := unescape(fields[4]); point == dir || strings.HasPrefix(point, dir+"/") {
				points = append(points, point)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	return points, nil
}

// unmountBelow unmounts everything below a folder, the newest first, so that removing the folder cannot reach into it. It
// returns what the kernel has not finished with, since a server does not answer.
func unmountBelow(dir string) (unfinished []string, err error) {
	points, err := mountPoints(dir)
	if err != nil {
		return nil, err
	}
	slices.Reverse(points)
	var errs []error
	for _, p := range points {
		finished, err := unmount(p)
		if err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", p, err))
		}
		if !finished {
			unfinished = append(unfinished, p)
		}
	}
	left, err := mountPoints(dir)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("still mounted: %s", strings.Join(left, ", "))
	}
	return unfinished, errors.Join(append(errs, err)...)
}

// unmount takes a mount out of its folder, which happens at once, and waits for the kernel to write what is still to be
// written. Where there is no server any more to take that, the kernel goes on alone.
func unmount(point string) (finished bool, err error) {
	done := make(chan error, 1)
	go func() { done <- unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) }()
	timer := time.NewTimer(serverPatience)
	defer timer.Stop()
	select {
	case err := <-done:
		return true, err
	case <-timer.C:
		return false, nil
	}
}

// unescape reads mountinfo's octal escapes.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace
