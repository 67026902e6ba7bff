package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideAddr is where pods reach the REST API when it listens on loopback only: the bridge of the node that has the
// first range. Ranges are handed out from the lowest, so that is a node of this machine, the one that made the cluster.
func (d *daemon) insideAddr() netip.Addr { return d.settings.ClusterCIDR.Masked().Addr().Next() }

// advertise is the endpoint of the Service "kubernetes".
func (d *daemon) advertise() (netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(d.settings.Listen)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen for the REST API: %w", err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen for the REST API: %w", err)
	}
	addr := d.insideAddr()
	if ip, err := netip.ParseAddr(host); err == nil && !ip.IsLoopback() && !ip.IsUnspecified() {
		addr = ip
	}
	return netip.AddrPortFrom(addr, uint16(port)), nil
}

func onLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// listenAhead listens on an address that this machine does not have yet.
func listenAhead(addr string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var option error
		err := c.Control(func(fd uintptr) {
			option = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
		})
		if err != nil {
			return err
		}
		return option
	}}
	return config.Listen(context.Background(), "tcp", addr)
}
