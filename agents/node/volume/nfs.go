package volume

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/machine"
)

// nfsVersions are tried one after the other where the volume names none. How a server says that it does not know one differs.
var nfsVersions = []string{"4.2", "4.1", "4.0", "3"}

// statusDaemon is the file by which the program that keeps NFS 3's locks is known to run.
const statusDaemon = "/run/rpc.statd.pid"

// mountNFS mounts a server's folder, unless it is mounted already. The kernel is asked without nfs-utils' mount.nfs, which
// many machines do not have: what that would find out and add to the options is done here.
func mountNFS(ctx context.Context, src *corev1.NFSVolumeSource, dir string, options []string) error {
	points, err := makeMountPoint(dir)
	if err != nil || len(points) > 0 {
		return err
	}
	addr, err := nfsAddress(ctx, src.Server)
	if err != nil {
		return err
	}
	options = append(slices.Clone(options), "addr="+addr)
	if src.ReadOnly {
		options = append(options, "ro")
	}
	source := net.JoinHostPort(src.Server, "") + src.Path
	if given(options, "vers", "nfsvers") {
		return mountNFSVersion(ctx, source, dir, options)
	}
	ctx, cancel := context.WithTimeout(ctx, mountTimeout) // for all together
	defer cancel()
	var errs []error
	for _, version := range nfsVersions {
		err := mountNFSVersion(ctx, source, dir, append(slices.Clone(options), "vers="+version))
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("neither NFS %s (%w) nor %s (%w)", nfsVersions[0], errs[0], nfsVersions[len(errs)-1], errs[len(errs)-1])
}

func mountNFSVersion(ctx context.Context, source, dir string, options []string) error {
	if oldLocks(options) {
		if _, err := os.Stat(statusDaemon); err != nil {
			return errors.New("NFS 3 keeps locks through rpc.statd, which does not run here: start it (nfs-common has it), or give the volume the mount option nolock")
		}
	}
	return mount(ctx, source, dir, "nfs", options, "--internal-only")
}

// oldLocks says whether locks are to be kept by the protocol of NFS 3.
func oldLocks(options []string) bool {
	three := slices.ContainsFunc(options, func(o string) bool { return o == "vers=3" || o == "nfsvers=3" })
	return three && !given(options, "nolock", "local_lock")
}

// given says whether one of the options is given, with or without a value.
func given(options []string, wanted ...string) bool {
	return slices.ContainsFunc(options, func(o string) bool {
		name, _, _ := strings.Cut(o, "=")
		return slices.Contains(wanted, name)
	})
}

// nfsAddress finds a server's address, which the kernel does not do.
func nfsAddress(ctx context.Context, server string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", server)
	if err != nil {
		return "", fmt.Errorf("find the NFS server: %w", err)
	}
	return found[0].Unmap().String(), nil
}

// serverPatience is how long a server may take to show that it is there, and how long the kernel may take to let go of it.
const serverPatience = 5 * time.Second

// Answers finds out whether the servers of a pod's volumes are there, before anything gets in touch with the volumes: the
// kernel does not let go of who does and finds nobody, which would be the engine.
func (m *Manager) Answers(prepared *Prepared, volume string) error {
	server := prepared.Servers[volume]
	if server == "" {
		return nil
	}
	_, err := m.disks.Of(prepared.Paths[volume], serverPatience)
	switch {
	case errors.Is(err, machine.ErrSilent):
		return fmt.Errorf("MountVolume.SetUp failed for volume %q : NFS server %s does not answer", volume, server)
	case err != nil:
		return fmt.Errorf("MountVolume.SetUp failed for volume %q : NFS server %s: %w", volume, server, err)
	}
	return nil
}
