package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netns"
)

// OwnNamespace is set in the environment of a test process whose network namespace is its own.
const OwnNamespace = "KARVE_TEST_OWN_NETNS"

// Main runs a package's tests in a process of its own in a fresh network namespace, which is the "node" that the
// suite works on: nothing of the machine's own network is touched. Use it as TestMain.
func Main(m *testing.M) {
	if os.Getenv(OwnNamespace) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), OwnNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "tests in a network namespace of their own (needs root):", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// space is a network namespace: a pod, another node, or the world outside.
type space struct {
	handle netns.NsHandle
}

// newSpace makes a namespace without entering it.
func newSpace() (*space, error) {
	var s space
	err := onThread(func() error {
		own, err := netns.Get()
		if err != nil {
			return err
		}
		defer own.Close()
		if s.handle, err = netns.New(); err != nil {
			return err
		}
		return netns.Set(own)
	})
	return &s, err
}

// do runs fn with the calling thread in the namespace. Sockets opened there stay there.
func (s *space) do(fn func() error) error {
	if s == nil {
		return fn()
	}
	return onThread(func() error {
		own, err := netns.Get()
		if err != nil {
			return err
		}
		defer own.Close()
		if err := netns.Set(s.handle); err != nil {
			return err
		}
		err = fn()
		if back := netns.Set(own); back != nil {
			panic(back) // the thread must not go on elsewhere
		}
		return err
	})
}

func onThread(fn func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return fn()
}
