package volume

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// mountTimeout bounds a mount that a server or a disk has a part in.
const mountTimeout = 2 * time.Minute

// mountDevice mounts a device's file system. A device without one gets one.
func mountDevice(ctx context.Context, device, dir, fsType string, options []string) error {
	if fsType == "" {
		fsType = "ext4"
	}
	blank, err := isBlank(device)
	if err != nil {
		return err
	}
	if blank {
		if err := run(ctx, "mkfs."+fsType, device); err != nil {
			return fmt.Errorf("format %s: %w", device, err)
		}
	}
	return mountOnce(ctx, device, dir, fsType, options)
}

// isBlank says whether nothing has been written where file systems and partition tables begin.
func isBlank(device string) (bool, error) {
	f, err := os.Open(device)
	if err != nil {
		return false, fmt.Errorf("open %s: %w", device, err)
	}
	defer f.Close()
	head := make([]byte, 128<<10)
	n, err := f.Read(head)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", device, err)
	}
	return strings.Trim(string(head[:n]), "\x00") == "", nil
}

func mountOnce(ctx context.Context, source, dir, fsType string, options []string) error {
	points, err := makeMountPoint(dir)
	if err != nil || len(points) > 0 {
		return err
	}
	// The program, not the system call: it knows the helpers of each kind of file system.
	return mount(ctx, source, dir, fsType, options)
}

// makeMountPoint makes an empty folder to mount on, or returns what is mounted on it. A folder where something is mounted
// is not looked at: its server might not answer.
func makeMountPoint(dir string) ([]string, error) {
	points, err := mountPoints(dir)
	if err != nil || len(points) > 0 {
		return points, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make a mount point: %w", err)
	}
	return nil, nil
}

// mount runs the program of that name. It is a process of its own, which can be ended when a server does not answer.
func mount(ctx context.Context, source, dir, fsType string, options []string, flags ...string) error {
	args := append(flags, "-t", fsType)
	if len(options) > 0 {
		args = append(args, "-o", strings.Join(options, ","))
	}
	return run(ctx, "mount", append(args, "--", source, dir)...)
}

// run runs a program of the machine. Its words are the error: they are what a user acts upon.
func run(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, mountTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s did not end in time: %w", name, ctx.Err())
	case err != nil:
		return fmt.Errorf("%s failed: %w: %s", name, err, strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", " "))
	}
	return nil
}
