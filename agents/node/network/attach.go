package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Attach gives a sandbox its interface: eth0 with addr, the default route, and loopback up. It may be repeated after a
// failure or a crash in between; bringing up the host's end is the last step, so that Attached tells the truth.
func (n *Network) Attach(ctx context.Context, sandbox string, pid int, addr netip.Addr) error {
	if err := n.Wait(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	nl, bridge, cidr, mtu := n.nl, n.link, n.cidr, n.mtu
	n.mu.Unlock()
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("open the network of process %d: %w", pid, err)
	}
	defer ns.Close()
	if err := mustDiffer(ns, pid); err != nil {
		return err
	}
	host, err := n.addPair(nl, bridge, ns, hostInterface(sandbox), mtu, addr)
	if err != nil {
		return err
	}
	if err := configure(ns, addr, cidr); err != nil {
		return err
	}
	// Hairpin: a pod that calls a Service may be answered by itself.
	if err := nl.LinkSetHairpin(host, true); err != nil {
		return fmt.Errorf("allow hairpin on %s: %w", host.Attrs().Name, err)
	}
	if err := forward(nl, host, hardwareAddress(addr)); err != nil {
		return err
	}
	if err := nl.LinkSetUp(host); err != nil {
		return fmt.Errorf("bring up %s: %w", host.Attrs().Name, err)
	}
	return nil
}

// forward tells the bridge where an address lives now. It would learn that from the pod's first packet, but a pod that
// only listens sends none while the bridge still knows the address behind the interface of a sandbox that had it before:
// the kernel takes a dead sandbox's interface away when it gets to it, which on a busy machine is many seconds later. The
// entry is sticky, so that no late packet of the dead one's moves it back; it goes with the interface.
func forward(nl *netlink.Handle, host netlink.Link, hw net.HardwareAddr) error {
	err := nl.NeighSet(&netlink.Neigh{
		LinkIndex: host.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER | netlink.NTF_STICKY, State: netlink.NUD_NOARP, HardwareAddr: hw,
	})
	if err != nil {
		return fmt.Errorf("let the bridge know who is behind %s: %w", host.Attrs().Name, err)
	}
	return nil
}

// mustDiffer guards the host: whatever goes wrong, its own interfaces are never taken for a pod's.
func mustDiffer(ns netns.NsHandle, pid int) error {
	own, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open the host's network: %w", err)
	}
	defer own.Close()
	if own.Equal(ns) {
		return fmt.Errorf("process %d has no network of its own", pid)
	}
	return nil
}

// Attached tells whether Attach has completed for a sandbox. It needs no Setup: pods that were found running are asked
// about before the node's podCIDR is known.
func (n *Network) Attached(sandbox string) bool {
	n.mu.Lock()
	err := n.open()
	nl := n.nl
	n.mu.Unlock()
	if err != nil {
		return false
	}
	bridge, err := nl.LinkByName(n.bridge)
	if err != nil {
		return false
	}
	link, err := nl.LinkByName(hostInterface(sandbox))
	return err == nil && link.Attrs().Flags&net.FlagUp != 0 && link.Attrs().MasterIndex == bridge.Attrs().Index
}

// hostInterface names the host's end of a sandbox's pair. Interface names have at most 15 characters.
func hostInterface(sandbox string) string { return "kvp" + digest(sandbox)[:11] }

// addPair makes the pair with its inner end already inside the sandbox. A pair left half made is replaced.
func (n *Network) addPair(nl *netlink.Handle, bridge netlink.Link, ns netns.NsHandle, name string, mtu int, addr netip.Addr) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = name, mtu, bridge.Attrs().Index
	pair := &netlink.Veth{
		LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns), PeerHardwareAddr: hardwareAddress(addr), PeerMTU: uint32(mtu),
	}
	err := nl.LinkAdd(pair)
	if errors.Is(err, unix.EEXIST) {
		if old, findErr := nl.LinkByName(name); findErr == nil {
			_ = nl.LinkDel(old) // adding again says what is wrong
		}
		err = nl.LinkAdd(pair)
	}
	if err != nil {
		return nil, fmt.Errorf("make interface %s: %w", name, err)
	}
	link, err := nl.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", name, err)
	}
	return link, nil
}

// configure sets up the interfaces inside a sandbox.
func configure(ns netns.NsHandle, addr netip.Addr, cidr netip.Prefix) error {
	nl, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink in the sandbox: %w", err)
	}
	defer nl.Close()
	if lo, err := nl.LinkByName("lo"); err != nil {
		return fmt.Errorf("find loopback in the sandbox: %w", err)
	} else if err := nl.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring up loopback in the sandbox: %w", err)
	}
	eth0, err := nl.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0 in the sandbox: %w", err)
	}
	ip := &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(cidr.Bits(), 32)}
	if err := nl.AddrAdd(eth0, &netlink.Addr{IPNet: ip}); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("give %s to eth0 in the sandbox: %w", ip, err)
	}
	if err := nl.LinkSetUp(eth0); err != nil {
		return fmt.Errorf("bring up eth0 in the sandbox: %w", err)
	}
	route := &netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: gateway(cidr).AsSlice()}
	if err := nl.RouteAdd(route); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add the default route in the sandbox: %w", err)
	}
	return nil
}
