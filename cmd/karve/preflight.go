package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"karve.dev/karve/internal/cluster"
)

// minFree is how much room a data directory needs for a cluster to start: etcd's first files and some logs.
const minFree = 256 << 20

// preflight finds what would keep a cluster from starting, each in one line that says what to do.
func preflight(ctx context.Context, dir cluster.Dir, s cluster.Settings) error {
	if err := cluster.CheckClaim(s.Name, dir); err != nil {
		return err
	}
	if err := os.MkdirAll(string(dir), 0o700); err != nil {
		return fmt.Errorf("the data directory cannot be made: %w: choose another with --data-dir", err)
	}
	if err := enoughRoom(string(dir)); err != nil {
		return err
	}
	if err := engineAnswers(ctx); err != nil {
		return err
	}
	for flag, addr := range map[string]string{"--listen": s.Listen, "--grpc-listen": s.GRPCListen} {
		if err := portFree(flag, addr); err != nil {
			return err
		}
	}
	return nil
}

func enoughRoom(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("the room in %s cannot be told: %w", dir, err)
	}
	if free := st.Bavail * uint64(st.Bsize); free < minFree {
		return fmt.Errorf("the disk of %s is full (%d MiB free, %d needed): make room, or choose another place with --data-dir", dir, free>>20, minFree>>20)
	}
	return nil
}

func portFree(flag, addr string) error {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is taken by another process: stop it (ss -ltnp shows it), or choose another address with %s", addr, flag)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be listened on: %w: choose another address with %s", addr, err, flag)
	}
	return l.Close()
}

// engineSocket is where the Docker Engine listens.
func engineSocket() (string, error) {
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		return "/var/run/docker.sock", nil
	}
	path, ok := strings.CutPrefix(host, "unix://")
	if !ok {
		return "", fmt.Errorf("DOCKER_HOST is %s: Karve runs pods on this machine's own engine only: unset it or give unix://PATH", host)
	}
	return path, nil
}

func engineAnswers(ctx context.Context) error {
	path, err := engineSocket()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	engine := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	defer engine.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	if err != nil {
		return err
	}
	res, err := engine.Do(req)
	if err != nil {
		return fmt.Errorf("the Docker Engine does not answer at %s: install it (apt-get install docker.io) or start it (systemctl start docker)", path)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the Docker Engine at %s answered %s: look at its log (journalctl -u docker)", path, res.Status)
	}
	return nil
}
