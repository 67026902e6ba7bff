package network

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrPortTaken is returned for a host port that another node of the same machine has.
var ErrPortTaken = errors.New("another node of this machine has the host port")

// HostPort is a port of the machine that leads to a pod's.
type HostPort struct {
	// IP is the only address on which the port answers; not valid for all of the machine's.
	IP       netip.Addr
	Protocol uint8 // IPPROTO_*
	Port     uint16
	Target   uint16
}

// hostPort is what is connected to: a HostPort without its target.
type hostPort struct {
	ip       netip.Addr
	protocol uint8
	port     uint16
}

// protocols are those that ports exist for.
var protocols = map[uint8]string{unix.IPPROTO_TCP: "TCP", unix.IPPROTO_UDP: "UDP", unix.IPPROTO_SCTP: "SCTP"}

func (p hostPort) String() string {
	if !p.ip.IsValid() {
		return fmt.Sprintf("%d/%s", p.port, protocols[p.protocol])
	}
	return fmt.Sprintf("%s:%d/%s", p.ip, p.port, protocols[p.protocol])
}

func (p hostPort) overlaps(o hostPort) bool {
	return p.protocol == o.protocol && p.port == o.port && (p.ip == o.ip || !p.ip.IsValid() || !o.ip.IsValid())
}

func (p hostPort) compare(o hostPort) int {
	return cmp.Or(cmp.Compare(p.port, o.port), cmp.Compare(p.protocol, o.protocol), p.ip.Compare(o.ip))
}

// hostPorts is what the node publishes. The kernel remembers it: each rule's comment says what it is for, so that an
// agent that starts goes on with what is there.
type hostPorts struct {
	mu     sync.Mutex
	loaded bool
	open   map[hostPort]netip.AddrPort
}

// Publish makes exactly these ports of the machine lead to a pod's address; with none it removes what led there. Those
// that another node of the machine has are left to it and named in an ErrPortTaken.
func (n *Network) Publish(addr netip.Addr, ports []HostPort) error {
	n.ports.mu.Lock()
	defer n.ports.mu.Unlock()
	if len(ports) == 0 && n.ports.loaded && len(n.ports.open) == 0 {
		return nil
	}
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	if err := n.loadPorts(conn); err != nil {
		return err
	}
	open := maps.Clone(n.ports.open)
	maps.DeleteFunc(open, func(_ hostPort, to netip.AddrPort) bool { return to.Addr() == addr })
	taken, err := n.foreignPorts(conn, len(ports) > 0)
	if err != nil {
		return err
	}
	var refused []string
	for _, p := range ports {
		key := hostPort{p.IP, p.Protocol, p.Port}
		if slices.ContainsFunc(taken, key.overlaps) {
			refused = append(refused, key.String())
			continue
		}
		open[key] = netip.AddrPortFrom(addr, p.Target)
	}
	if err := n.changePorts(conn, open); err != nil {
		return err
	}
	if len(refused) > 0 {
		return fmt.Errorf("%w %s", ErrPortTaken, strings.Join(refused, ", "))
	}
	return nil
}

// SweepPorts removes ports that lead to addresses which no pod has. It may be called once all addresses in use have
// been reserved.
func (n *Network) SweepPorts() error {
	n.ports.mu.Lock()
	defer n.ports.mu.Unlock()
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	if err := n.loadPorts(conn); err != nil {
		return err
	}
	open := maps.Clone(n.ports.open)
	maps.DeleteFunc(open, func(_ hostPort, to netip.AddrPort) bool { return !n.pool.inUse(to.Addr()) })
	return n.changePorts(conn, open)
}

// repairPorts writes the rules again, whatever has happened to them.
func (n *Network) repairPorts() error {
	n.ports.mu.Lock()
	defer n.ports.mu.Unlock()
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	if err := n.loadPorts(conn); err != nil {
		return err
	}
	if len(n.ports.open) == 0 {
		return nil
	}
	return n.writePorts(conn, n.ports.open)
}

// changePorts writes the rules when they differ. mu of the ports must be held.
func (n *Network) changePorts(conn *nftables.Conn, open map[hostPort]netip.AddrPort) error {
	if maps.Equal(open, n.ports.open) {
		return nil
	}
	if err := n.writePorts(conn, open); err != nil {
		return err
	}
	forgetFlows(n.ports.open, open)
	n.ports.open = open
	return nil
}

// loadPorts reads once what an earlier agent has left. mu of the ports must be held.
func (n *Network) loadPorts(conn *nftables.Conn) error {
	if n.ports.loaded {
		return nil
	}
	open := map[hostPort]netip.AddrPort{}
	if err := n.eachPortTable(conn, func(t *nftables.Table) {
		if t.Name == n.portTable().Name {
			maps.Copy(open, readPorts(conn, t))
		}
	}); err != nil {
		return err
	}
	n.ports.open, n.ports.loaded = open, true
	return nil
}

// foreignPorts are the ports of other nodes of this machine.
func (n *Network) foreignPorts(conn *nftables.Conn, wanted bool) ([]hostPort, error) {
	var out []hostPort
	if !wanted {
		return nil, nil
	}
	err := n.eachPortTable(conn, func(t *nftables.Table) {
		if t.Name != n.portTable().Name {
			out = slices.AppendSeq(out, maps.Keys(readPorts(conn, t)))
		}
	})
	return out, err
}

const portTablePrefix = "karve-ports-"

func (n *Network) portTable() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyIPv4, Name: portTablePrefix + n.tableSuffix()}
}

func (n *Network) eachPortTable(conn *nftables.Conn, do func(*nftables.Table)) error {
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("list nftables tables: %w", err)
	}
	for _, t := range tables {
		if strings.HasPrefix(t.Name, portTablePrefix) {
			do(t)
		}
	}
	return nil
}

// readPorts reads a table's ports from its rules' comments. A table that goes at this moment has none.
func readPorts(conn *nftables.Conn, table *nftables.Table) map[hostPort]netip.AddrPort {
	out := map[hostPort]netip.AddrPort{}
	rules, err := conn.GetRules(table, &nftables.Chain{Name: portChain, Table: table})
	if err != nil {
		return out
	}
	for _, r := range rules {
		comment, ok := userdata.GetString(r.UserData, userdata.TypeComment)
		if !ok {
			continue
		}
		if p, to, ok := parsePort(comment); ok {
			out[p] = to
		}
	}
	return out
}

// comment says what a rule is for; parsePort reads it back.
func comment(p hostPort, to netip.AddrPort) string {
	ip := p.ip
	if !ip.IsValid() {
		ip = netip.IPv4Unspecified()
	}
	return fmt.Sprintf("%s %d %s", netip.AddrPortFrom(ip, p.port), p.protocol, to)
}

func parsePort(text string) (p hostPort, to netip.AddrPort, ok bool) {
	var from, target string
	if _, err := fmt.Sscanf(text, "%s %d %s", &from, &p.protocol, &target); err != nil {
		return p, to, false
	}
	ap, err := netip.ParseAddrPort(from)
	if err != nil {
		return p, to, false
	}
	if p.port = ap.Port(); !ap.Addr().IsUnspecified() {
		p.ip = ap.Addr()
	}
	to, err = netip.ParseAddrPort(target)
	return p, to, err == nil
}

// forgetFlows drops what connection tracking knows of UDP ports that lead elsewhere now: clients that go on sending
// would otherwise never be seen to begin anew.
func forgetFlows(before, after map[hostPort]netip.AddrPort) {
	for _, both := range [][2]map[hostPort]netip.AddrPort{{before, after}, {after, before}} {
		for p, to := range both[0] {
			if p.protocol != unix.IPPROTO_UDP || both[1][p] == to {
				continue
			}
			filter := &netlink.ConntrackFilter{}
			if filter.AddProtocol(unix.IPPROTO_UDP) == nil && filter.AddPort(netlink.ConntrackOrigDstPort, p.port) == nil {
				// Without it flows end by their timeout.
				_, _ = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter)
			}
		}
	}
}
