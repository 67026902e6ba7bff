package network

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strconv"

	"github.com/vishvananda/netns"
)

// DialIn connects to a port on the loopback of a process's network, as port-forwarding does: what listens there only
// for the pod itself is reached too.
func DialIn(ctx context.Context, pid, port int) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		conn, back, err := dialIn(ctx, pid, port)
		if back {
			runtime.UnlockOSThread() // otherwise the thread is thrown away with this goroutine
		}
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// dialIn connects from within a namespace; back is true when the thread is in its own again.
func dialIn(ctx context.Context, pid, port int) (conn net.Conn, back bool, err error) {
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
	conn, err = (&net.Dialer{}).DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	return conn, netns.Set(own) == nil, err
}
