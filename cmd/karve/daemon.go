package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"karve.dev/karve/internal/cluster"
)

// running returns the process ID of the cluster's daemon; ok is false when none runs. The daemon holds a lock on the
// file for as long as it lives, so a stale process ID never counts.
func running(dir cluster.Dir) (pid int, ok bool) {
	f, err := os.Open(dir.Lock())
	if err != nil {
		return 0, false
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil || !errors.Is(err, unix.EWOULDBLOCK) {
		return 0, false
	}
	raw, err := io.ReadAll(f)
	if err != nil {
		return 0, false
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(raw)))
	return pid, err == nil
}

// dyingTimeout is how long a daemon that answers nobody is given to be gone.
const dyingTimeout = 3 * time.Second

// answers reports whether the daemon says how it is. One that has been killed holds its lock, and even its socket, a moment
// longer, while the kernel clears up after it.
func answers(ctx context.Context, dir cluster.Dir) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := parts(ctx, dir)
	return err == nil
}

// daemonPath finds karved: beside this program, or on the PATH.
func daemonPath() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find karved: %w", err)
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", fmt.Errorf("find karved: %w", err)
	}
	beside := filepath.Join(filepath.Dir(self), "karved")
	if _, err := os.Stat(beside); err == nil {
		return beside, nil
	}
	path, err := exec.LookPath("karved")
	if err != nil {
		return "", fmt.Errorf("karved was found neither at %s nor on the PATH: build it with make build", beside)
	}
	return path, nil
}

// started is a daemon that this process has started.
type started struct {
	pid    int
	steps  io.ReadCloser
	exited chan error
}

// startDaemon runs karved in a session of its own, with its output in the log, so that it outlives this process.
func startDaemon(dir cluster.Dir) (*started, error) {
	path, err := daemonPath()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(dir.Log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the daemon's log: %w", err)
	}
	defer log.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	defer write.Close()
	cmd := exec.Command(path, "run", "--data-dir", string(dir), "--progress")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	if err := cmd.Start(); err != nil {
		read.Close()
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	d := &started{pid: cmd.Process.Pid, steps: read, exited: make(chan error, 1)}
	go func() { d.exited <- cmd.Wait() }()
	return d, nil
}

// stopTimeout is how long a daemon may take to stop before it is killed.
const stopTimeout = 30 * time.Second

// stopDaemon ends the daemon and waits until it is gone.
func stopDaemon(dir cluster.Dir, pid int) error {
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop the daemon (process %d): %w", pid, err)
	}
	if waitGone(dir, stopTimeout) {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill the daemon (process %d): %w", pid, err)
	}
	if !waitGone(dir, stopTimeout) {
		return fmt.Errorf("the daemon (process %d) does not end, even when killed: look at %s", pid, dir.Log())
	}
	return nil
}

// waitGone blocks until the daemon's lock is free: the kernel frees it when the process has ended.
func waitGone(dir cluster.Dir, limit time.Duration) bool {
	f, err := os.Open(dir.Lock())
	if err != nil {
		return true
	}
	free := make(chan struct{})
	go func() {
		defer f.Close()
		if unix.Flock(int(f.Fd()), unix.LOCK_SH) == nil {
			close(free)
		}
	}()
	select {
	case <-free:
		return true
	case <-time.After(limit):
		return false
	}
}
