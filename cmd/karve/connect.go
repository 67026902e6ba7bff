package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/identity"
)

// person is who runs the command: under sudo, the one who typed it.
type person struct {
	home     string
	uid, gid int
}

func whoami() (person, error) {
	name := os.Getenv("SUDO_USER")
	if os.Geteuid() != 0 || name == "" || name == "root" {
		home, err := os.UserHomeDir()
		if err != nil {
			return person{}, fmt.Errorf("find the home directory: %w", err)
		}
		return person{home, os.Getuid(), os.Getgid()}, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return person{}, fmt.Errorf("find the home directory of %s: %w", name, err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	return person{u.HomeDir, uid, gid}, errors.Join(err1, err2)
}

func (p person) kubeconfig() string { return filepath.Join(p.home, ".kube", "config") }

// contextName is the kubeconfig context of a cluster.
func contextName(t target) string { return t.name }

// connect merges the cluster's administrator into the person's kubeconfig. A file that cannot be merged is left alone;
// the cluster works all the same, so that is told and is no failure.
func connect(dir cluster.Dir, t target) error {
	p, err := whoami()
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(dir.Kubeconfig())
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the cluster's kubeconfig: %w", err)
	}
	if err := identity.MergeKubeconfig(p.kubeconfig(), raw, identity.Owner{UID: p.uid, GID: p.gid}); err != nil {
		fmt.Fprintf(os.Stderr, "karve: %v\n", err)
		fmt.Fprintf(os.Stderr, "karve: use kubectl --kubeconfig %s instead\n", dir.Kubeconfig())
		return nil
	}
	fmt.Printf("kubectl context %q is in %s and current\n", contextName(t), p.kubeconfig())
	return nil
}

// disconnect takes the cluster out of the person's kubeconfig again.
func disconnect(t target) {
	p, err := whoami()
	if err == nil {
		err = identity.RemoveFromKubeconfig(p.kubeconfig(), contextName(t), identity.Owner{UID: p.uid, GID: p.gid})
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "karve: %v\n", err)
	}
}

func whatNext(t target) string {
	return fmt.Sprintf(`
Try:
  kubectl get nodes                        (or: karve kubectl get nodes)
  kubectl create deployment web --image=IMAGE-YOU-BUILT --replicas=3
  karve status%s
  karve down%s
`, t.again(), t.again())
}
