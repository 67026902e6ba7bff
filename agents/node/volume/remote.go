package volume

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// mountTimeout bounds a mount that a server or a disk has a part in.
const mountTimeout = 2 * time.Minute

// mountNFS mounts a server's folder, unless it is mounted already.
func mountNFS(ctx context.Context, src *corev1.NFSVolumeSource, dir string, options []string) error {
	if src.ReadOnly {
		options = append([]string{"ro"}, options...)
	}
	return mountOnce(ctx, src.Server+":"+src.Path, dir, "nfs", options)
}

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
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make a mount point: %w", err)
	}
	points, err := mountPoints(dir)
	if err != nil || len(points) > 0 {
		return err
	}
	args := []string{"-t", fsType}
	if len(options) > 0 {
		args = append(args, "-o", strings.Join(options, ","))
	}
	// The program, not the system call: it knows the helpers of each kind of file system.
	return run(ctx, "mount", append(args, "--", source, dir)...)
}

// run runs a program of the machine. Its words are the error: they are what a user acts upon.
func run(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, mountTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s failed: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}
