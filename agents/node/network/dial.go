package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"

	"github.com/vishvananda/netns"
)

// DialIn connects to an address within a process's network.
func DialIn(ctx context.Context, pid int, addr netip.AddrPort) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		conn, back, err := dialIn(ctx, pid, addr)
		if back {
			runtime.UnlockOSThread() // otherwise the thread is thrown away with this goroutine
		}
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// dialIn connects from within a namespace; back is true when the thread is in its own again.
func dialIn(ctx context.Context, pid int, addr netip.AddrPort) (conn net.Conn, back bool, err error) {
	own, err := netns.Get()
	if err != nil {
		return nil, true, fmt.Errorf("open the host's network: %w", err)
	}
	defer own.Close()
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return nil, true, fmt.Errorf("open the network of process %d: %w", pid, err)
	}
	defer ns.Close()
	if err := netns.Set(ns); err != nil {
		return nil, false, fmt.Errorf("enter the network of process %d: %w", pid, err)
	}
	conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", addr.String())
	return conn, netns.Set(own) == nil, err
}
