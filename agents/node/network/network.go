// Package network wires pods: a bridge per node, a pair of virtual interfaces per pod, an address out of the node's
// podCIDR, and the firewall rules that let pods be reached. It works with netlink alone and leaves the engine's own
// networks untouched. Everything that it makes carries a name derived from cluster and node, so that one machine can
// carry several nodes.
package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNotReady is returned while the node has no podCIDR or its bridge could not be made.
var ErrNotReady = errors.New("network is not ready")

// Config says which node's network this is.
type Config struct {
	Cluster, Node string
	// ClusterCIDRs are the addresses of all pods: traffic to them keeps the pod's address, other traffic that leaves
	// the machine gets the node's.
	ClusterCIDRs []netip.Prefix
	// ServiceCIDR are the addresses of Services: host ports do not answer there.
	ServiceCIDR netip.Prefix
	// MTU of pods' interfaces; 0 for that of the machine's way out.
	MTU int
}

// Network is a node's pod network. It is safe for concurrent use.
type Network struct {
	cfg    Config
	bridge string

	mu      sync.Mutex
	nl      *netlink.Handle
	cidr    netip.Prefix
	link    netlink.Link
	mtu     int
	pool    *pool
	waiting chan struct{} // closed when the network becomes ready

	ports hostPorts
}

// New returns a network that is not set up yet.
func New(cfg Config) *Network {
	return &Network{cfg: cfg, bridge: "kv-" + digest(cfg.Cluster, cfg.Node)[:10], pool: &pool{}, waiting: make(chan struct{})}
}

func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Setup makes the bridge and the rules for podCIDR. It may be called again at any time, to repair what has changed.
func (n *Network) Setup(ctx context.Context, podCIDR netip.Prefix) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	podCIDR = podCIDR.Masked()
	if !podCIDR.IsValid() || !podCIDR.Addr().Is4() || podCIDR.Bits() > 30 {
		return fmt.Errorf("pod CIDR %q: want an IPv4 prefix of at most 30 bits", podCIDR)
	}
	if err := n.open(); err != nil {
		return err
	}
	n.mtu = n.cfg.MTU
	if n.mtu == 0 {
		n.mtu = n.defaultMTU()
	}
	link, err := n.setupBridge(podCIDR)
	if err != nil {
		return err
	}
	if err := n.allowForwarding(ctx, podCIDR); err != nil {
		return err
	}
	if err := n.repairPorts(); err != nil {
		return err
	}
	ready := n.link != nil
	n.link, n.cidr = link, podCIDR
	n.pool.serve(podCIDR)
	if !ready {
		close(n.waiting)
	}
	return nil
}

// open opens the netlink connection once. mu must be held.
func (n *Network) open() error {
	if n.nl != nil {
		return nil
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	n.nl = nl
	return nil
}

// Wait returns when the network is set up.
func (n *Network) Wait(ctx context.Context) error {
	select {
	case <-n.waiting:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrNotReady, ctx.Err())
	}
}

// Close ends the netlink connection.
func (n *Network) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nl != nil {
		n.nl.Close()
		n.nl = nil
	}
}

// gateway is the bridge's own address: the first of the podCIDR.
func gateway(cidr netip.Prefix) netip.Addr { return cidr.Addr().Next() }

// hardwareAddress derives an interface's address from its IP, so that a reused IP never meets a stale neighbour entry.
func hardwareAddress(ip netip.Addr) net.HardwareAddr {
	b := ip.As4()
	return net.HardwareAddr{0x0a, 0x58, b[0], b[1], b[2], b[3]}
}

func (n *Network) setupBridge(cidr netip.Prefix) (netlink.Link, error) {
	gw := gateway(cidr)
	link, err := n.nl.LinkByName(n.bridge)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.HardwareAddr = n.bridge, n.mtu, hardwareAddress(gw)
		if err = n.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err == nil || errors.Is(err, unix.EEXIST) {
			link, err = n.nl.LinkByName(n.bridge)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make bridge %s: %w", n.bridge, err)
	}
	if err := n.nl.LinkSetAlias(link, alias(n.cfg.Cluster, n.cfg.Node)); err != nil {
		return nil, fmt.Errorf("name bridge %s: %w", n.bridge, err)
	}
	if err := n.addressBridge(link, gw, cidr.Bits()); err != nil {
		return nil, err
	}
	if err := n.nl.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("bring up bridge %s: %w", n.bridge, err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return nil, fmt.Errorf("enable forwarding: %w", err)
	}
	return link, nil
}

// addressBridge gives the bridge the gateway address and takes away any other, left from an earlier podCIDR.
func (n *Network) addressBridge(link netlink.Link, gw netip.Addr, bits int) error {
	want := &net.IPNet{IP: gw.AsSlice(), Mask: net.CIDRMask(bits, 32)}
	have, err := whole(func() ([]netlink.Addr, error) { return n.nl.AddrList(link, netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("read addresses of bridge %s: %w", n.bridge, err)
	}
	for _, a := range have {
		if a.IPNet.String() == want.String() {
			return nil
		}
		if err := n.nl.AddrDel(link, &a); err != nil {
			return fmt.Errorf("remove address %s of bridge %s: %w", a.IPNet, n.bridge, err)
		}
	}
	if err := n.nl.AddrAdd(link, &netlink.Addr{IPNet: want}); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("give address %s to bridge %s: %w", want, n.bridge, err)
	}
	return nil
}

// defaultMTU is that of the interface with the default route: packets of pods then leave without fragmentation.
func (n *Network) defaultMTU() int {
	const usual = 1500
	routes, err := whole(func() ([]netlink.Route, error) {
		return n.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return usual
	}
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		if link, err := n.nl.LinkByIndex(r.LinkIndex); err == nil && link.Attrs().MTU > 0 {
			return link.Attrs().MTU
		}
	}
	return usual
}

func alias(cluster, node string) string { return "karve " + cluster + "/" + node }

// Cleanup removes everything that a node's network has made. Interfaces of pods go with their containers.
func Cleanup(ctx context.Context, cluster, node string) error {
	n := New(Config{Cluster: cluster, Node: node})
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var errs []error
	if link, err := netlink.LinkByName(n.bridge); err == nil {
		errs = append(errs, removePorts(link), netlink.LinkDel(link))
	}
	errs = append(errs, n.removeRules(ctx))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up the network of node %s: %w", node, err)
	}
	return nil
}

func removePorts(bridge netlink.Link) error {
	links, err := whole(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	var errs []error
	for _, l := range links {
		if l.Attrs().MasterIndex != bridge.Attrs().Index || l.Type() != "veth" {
			continue
		}
		if err := netlink.LinkDel(l); err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// whole asks again for a list that has changed while the kernel told it: it is not complete then.
func whole[T any](list func() ([]T, error)) ([]T, error) {
	for range 9 {
		out, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return list()
}
