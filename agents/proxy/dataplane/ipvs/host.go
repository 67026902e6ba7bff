package ipvs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"karve.dev/karve/agents/proxy/dataplane"
)

// sysctls are how IPVS must behave: answers can be masqueraded, connections to removed destinations end, affinity does
// not hold on to a draining destination, and a client that reuses a port is scheduled anew.
var sysctls = map[string]string{
	"conntrack":                 "1",
	"expire_nodest_conn":        "1",
	"expire_quiescent_template": "1",
	"conn_reuse_mode":           "1",
}

func setSysctls() error {
	var errs []error
	for name, value := range sysctls {
		if err := os.WriteFile("/proc/sys/net/ipv4/vs/"+name, []byte(value), 0o644); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// available tells whether IPVS is loaded.
func available() bool {
	_, err := os.Stat("/proc/self/net/ip_vs")
	return err == nil
}

// hostAddresses are those on which node ports answer: the host's own, but not loopback (the helper table serves that)
// and not those of Services.
func hostAddresses(limit []netip.Prefix) ([]netip.Addr, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var out []netip.Addr
	for _, link := range links {
		if strings.HasPrefix(link.Name, dataplane.InterfacePrefix) || link.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := link.Addrs()
		if err != nil {
			continue // going just now
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && !p.Addr().IsLinkLocalUnicast() && allowed(p.Addr(), limit) {
				out = append(out, p.Addr())
			}
		}
	}
	return out, nil
}

func allowed(a netip.Addr, limit []netip.Prefix) bool {
	for _, p := range limit {
		if p.Contains(a) {
			return true
		}
	}
	return len(limit) == 0
}

// ownedAddresses lists the addresses on the cluster's interface.
func ownedAddresses(link netlink.Link) (map[netip.Addr]bool, error) {
	out := map[netip.Addr]bool{}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", link.Attrs().Name, err)
	}
	for _, a := range addrs {
		if addr, ok := netip.AddrFromSlice(a.IP); ok && !addr.IsLinkLocalUnicast() {
			out[addr.Unmap()] = true
		}
	}
	return out, nil
}

func addAddress(link netlink.Link, a netip.Addr) error {
	flags := unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_NODAD
	if a.Is4() {
		flags = 0
	}
	err := netlink.AddrAdd(link, &netlink.Addr{IPNet: single(a), Flags: flags})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add address %s to %s: %w", a, link.Attrs().Name, err)
	}
	return nil
}

func removeAddress(link netlink.Link, a netip.Addr) error {
	err := netlink.AddrDel(link, &netlink.Addr{IPNet: single(a)})
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("remove address %s from %s: %w", a, link.Attrs().Name, err)
	}
	return nil
}

func single(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}
