package machine

import (
	"context"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// stalled is what the kernel is to tell of: that programs have waited for memory for a tenth of two seconds, the window
// that needs no privilege.
const stalled = "some 200000 2000000"

// WatchMemory calls alarm whenever programs stall for want of memory, until ctx ends: the kernel tells, nothing is
// measured meanwhile. Where it cannot tell, WatchMemory fails at once.
func WatchMemory(ctx context.Context, alarm func()) error {
	pressure, err := unix.Open("/proc/pressure/memory", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("watch memory: %w", err)
	}
	defer unix.Close(pressure)
	if _, err := unix.Write(pressure, append([]byte(stalled), 0)); err != nil {
		return fmt.Errorf("watch memory: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("watch memory: %w", err)
	}
	defer unix.Close(wake)
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		_, _ = unix.Write(wake, binary.NativeEndian.AppendUint64(nil, 1))
	})
	defer func() {
		if !stop() {
			<-ended // it writes to wake, which must not be another file by then
		}
	}()
	for {
		fds := []unix.PollFd{{Fd: int32(pressure), Events: unix.POLLPRI}, {Fd: int32(wake), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return fmt.Errorf("watch memory: %w", err)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case fds[0].Revents&unix.POLLERR != 0:
			return fmt.Errorf("watch memory: the kernel has stopped telling")
		case fds[0].Revents&unix.POLLPRI != 0:
			alarm()
		}
	}
}
