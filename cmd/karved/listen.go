package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/identity"
)

// insideAddr is where pods reach the REST API when it listens on loopback only: the bridge of the node that has the
// first range. Ranges are handed out from the lowest, so that is a node of this machine, the one that made the cluster.
func insideAddr(s cluster.Settings) netip.Addr { return s.ClusterCIDR.Masked().Addr().Next() }

// advertise is the endpoint of the Service "kubernetes".
func advertise(s cluster.Settings) (netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen for the REST API: %w", err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen for the REST API: %w", err)
	}
	addr := insideAddr(s)
	if ip, err := netip.ParseAddr(host); err == nil && !ip.IsLoopback() && !ip.IsUnspecified() {
		addr = ip
	}
	return netip.AddrPortFrom(addr, uint16(port)), nil
}

// serviceAddr returns the n-th address of the Service range: 1 is the API's, 10 the DNS'.
func serviceAddr(s cluster.Settings, n int) netip.Addr {
	a := s.ServiceCIDR.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// serverNames are what the API is called: from this machine, and from pods.
func serverNames(commonName string, s cluster.Settings) identity.Spec {
	spec := identity.Spec{
		CommonName: commonName,
		DNSNames:   []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		IPs:        []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, serviceAddr(s, 1).AsSlice(), insideAddr(s).AsSlice()},
	}
	if host, err := os.Hostname(); err == nil {
		spec.DNSNames = append(spec.DNSNames, host)
	}
	spec.IPs = append(spec.IPs, addresses()...)
	return spec
}

// addresses are those at which this machine can be reached.
func addresses() []net.IP {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []net.IP
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() && !p.Addr().IsLoopback() {
			out = append(out, p.Addr().AsSlice())
		}
	}
	return out
}

// dialable turns "every address" into one that clients on this machine can dial.
func dialable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// listen listens where it is told and, when that is on loopback, where pods can reach it too.
func (d *daemon) listen(addr string) ([]net.Listener, error) {
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil || !onLoopback(addr) {
		return []net.Listener{lis}, err
	}
	inside, err := listenAhead(net.JoinHostPort(insideAddr(d.settings).String(), port))
	if err != nil {
		return nil, errors.Join(err, lis.Close())
	}
	return []net.Listener{lis, inside}, nil
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
