package ipvs

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/hkwi/nlgo"
	"github.com/mqliang/libipvs"
)

// callTimeout bounds one call into the kernel; they take microseconds.
const callTimeout = 5 * time.Second

// errStuck tells that the library's netlink loop has ended; the call may or may not have been carried out.
var errStuck = errors.New("no answer from the kernel's IPVS")

// handle guards libipvs: its netlink loop can end, after which calls block for ever. A call that does not come back
// in time gives the handle up, and the next one opens another.
type handle struct {
	mu   sync.Mutex
	ipvs libipvs.IPVSHandle
}

func (h *handle) open(ctx context.Context) (libipvs.IPVSHandle, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ipvs != nil {
		return h.ipvs, nil
	}
	type result struct {
		ipvs libipvs.IPVSHandle
		err  error
	}
	done := make(chan result, 1)
	go func() {
		ipvs, err := libipvs.NewIPVSHandle(libipvs.IPVSHandleParams{})
		done <- result{ipvs, err}
	}()
	select {
	case r := <-done:
		h.ipvs = r.ipvs
		return r.ipvs, r.err
	case <-time.After(callTimeout):
		return nil, errStuck
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// call runs fn, and once more on a new handle when the first got stuck: every call here is idempotent.
func call[T any](ctx context.Context, h *handle, fn func(libipvs.IPVSHandle) (T, error)) (T, error) {
	out, err := once(ctx, h, fn)
	if errors.Is(err, errStuck) {
		out, err = once(ctx, h, fn)
	}
	return out, err
}

func once[T any](ctx context.Context, h *handle, fn func(libipvs.IPVSHandle) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	ipvs, err := h.open(ctx)
	if err != nil {
		return *new(T), err
	}
	done := make(chan result, 1)
	go func() {
		value, err := fn(ipvs)
		done <- result{value, err}
	}()
	timer := time.NewTimer(callTimeout)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		h.drop(ipvs)
		return *new(T), ctx.Err()
	case <-timer.C:
		h.drop(ipvs)
		return *new(T), errStuck
	}
}

func (h *handle) drop(ipvs libipvs.IPVSHandle) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ipvs == ipvs {
		h.ipvs = nil
	}
}

// errno returns the kernel's answer that err carries, 0 for none.
func errno(err error) syscall.Errno {
	var message nlgo.NlMsgerr
	if errors.As(err, &message) {
		code := message.Payload().Error
		return syscall.Errno(max(code, -code))
	}
	var plain syscall.Errno
	if errors.As(err, &plain) {
		return plain
	}
	return 0
}

// Probe tells whether the kernel has IPVS with its round-robin scheduler; it loads the modules where it may.
func Probe(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "modprobe", "-a", "ip_vs", "ip_vs_rr", "nf_conntrack").CombinedOutput(); err != nil && !available() {
		return fmt.Errorf("the kernel has no IPVS: load ip_vs and ip_vs_rr, or use the nftables backend (modprobe: %w %s)", err, out)
	}
	if !available() {
		return errors.New("the kernel has no IPVS: load ip_vs and ip_vs_rr, or use the nftables backend")
	}
	var h handle
	_, err := call(ctx, &h, libipvs.IPVSHandle.GetInfo)
	if errno(err) == syscall.EPERM {
		return fmt.Errorf("not allowed to change IPVS: run as root, or with CAP_NET_ADMIN (%w)", err)
	}
	return err
}
