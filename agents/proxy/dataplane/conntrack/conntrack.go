// Package conntrack ends flows that the kernel's connection tracking would keep sending to endpoints that are gone.
package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"karve.dev/karve/agents/proxy/dataplane"
)

// Change is a virtual server before and after it was programmed; either may be nil.
type Change struct {
	Before, After *dataplane.VirtualServer
	// First is set when nobody knows what was programmed before.
	First bool
}

// Settle ends the flows that a set of changes leaves behind: UDP flows to a frontend whose target is none of its
// endpoints (there is no handshake that would move them), and any connection to an endpoint that was cut. TCP
// connections to removed endpoints stay: they drain.
func Settle(ctx context.Context, changes []Change) error {
	m := matcher{servers: map[frontend]*targets{}}
	for _, c := range changes {
		m.add(c)
	}
	if len(m.servers) == 0 {
		return nil
	}
	if m.nodePorts {
		if err := m.readLocal(); err != nil {
			return err
		}
	}
	return m.run(ctx)
}

// frontend is where a flow was addressed to; addr is not set for node ports.
type frontend struct {
	protocol dataplane.Protocol
	addr     netip.Addr
	port     uint16
}

// targets tells which flows of a frontend end.
type targets struct {
	keep map[netip.AddrPort]bool // nil: all but those in cut
	cut  map[netip.AddrPort]bool
}

type matcher struct {
	servers   map[frontend]*targets
	nodePorts bool
	v4, v6    bool
	local     map[netip.Addr]bool
}

func (m *matcher) add(c Change) {
	server := c.After
	if server == nil {
		server = c.Before
	}
	t := &targets{}
	if c.After != nil {
		t.cut = newlyCut(c)
	}
	if server.Protocol == dataplane.UDP && udpFlowsMayBeStale(c) {
		t.keep = map[netip.AddrPort]bool{}
		if c.After != nil {
			for _, ep := range slices.Concat(c.After.Endpoints, c.After.LocalEndpoints) {
				t.keep[ep.Addr] = true
			}
		}
	}
	if t.keep == nil && len(t.cut) == 0 {
		return
	}
	for _, fe := range frontends(c) {
		m.servers[frontend{server.Protocol, fe.Addr, fe.Port}] = t
		m.nodePorts = m.nodePorts || fe.Kind == dataplane.NodePort
	}
	m.v4, m.v6 = m.v4 || !server.IPv6, m.v6 || server.IPv6
}

func frontends(c Change) []dataplane.Frontend {
	var out []dataplane.Frontend
	if c.Before != nil {
		out = append(out, c.Before.Frontends...)
	}
	if c.After != nil {
		out = append(out, c.After.Frontends...)
	}
	return out
}

// udpFlowsMayBeStale is false when only endpoints were added beside others: then no flow has to move.
func udpFlowsMayBeStale(c Change) bool {
	if c.First || c.Before == nil || c.After == nil || len(c.Before.Endpoints) == 0 || !slices.Equal(c.Before.Frontends, c.After.Frontends) {
		return true
	}
	now := map[netip.AddrPort]bool{}
	for _, ep := range slices.Concat(c.After.Endpoints, c.After.LocalEndpoints) {
		now[ep.Addr] = true
	}
	for _, ep := range slices.Concat(c.Before.Endpoints, c.Before.LocalEndpoints) {
		if !now[ep.Addr] {
			return true
		}
	}
	return false
}

func newlyCut(c Change) map[netip.AddrPort]bool {
	out := map[netip.AddrPort]bool{}
	for _, addr := range c.After.Cut {
		if c.Before == nil || !slices.Contains(c.Before.Cut, addr) {
			out[addr] = true
		}
	}
	return out
}

func (m *matcher) readLocal() error {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("the host's addresses: %w", err)
	}
	m.local = map[netip.Addr]bool{}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			m.local[p.Addr()] = true
		}
	}
	return nil
}

func (m *matcher) run(ctx context.Context) error {
	var errs []error
	for family, used := range map[netlink.InetFamily]bool{unix.AF_INET: m.v4, unix.AF_INET6: m.v6} {
		if !used || ctx.Err() != nil {
			continue
		}
		if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, m); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("end flows: %w", err))
		}
	}
	return errors.Join(errs...)
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (m *matcher) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	protocol := dataplane.Protocol(flow.Forward.Protocol)
	asked, target := address(flow.Forward.DstIP), address(flow.Reverse.SrcIP)
	t := m.servers[frontend{protocol, asked, flow.Forward.DstPort}]
	if t == nil && (m.local[asked] || asked.IsLoopback()) {
		t = m.servers[frontend{protocol, netip.Addr{}, flow.Forward.DstPort}]
	}
	if t == nil {
		return false
	}
	to := netip.AddrPortFrom(target, flow.Reverse.SrcPort)
	return t.cut[to] || t.keep != nil && !t.keep[to]
}

func address(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
