package network

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

const (
	portChain = "ports"
	// Priorities are those of the Services' tables: before the engine's own translation (-100), masquerading before it.
	priorityGuard      = -300
	priorityTranslate  = -101
	priorityMasquerade = 95
	// statusDNAT is the connection tracking bit of a connection whose destination was translated.
	statusDNAT = 0x20
)

var loopback = netip.MustParsePrefix("127.0.0.0/8")

// writePorts replaces the table as a whole, in one transaction. Connections that exist are not touched by that.
func (n *Network) writePorts(conn *nftables.Conn, open map[hostPort]netip.AddrPort) error {
	conn.AddTable(n.portTable())
	conn.DelTable(n.portTable())
	if len(open) > 0 {
		if err := n.allowLoopback(); err != nil {
			return err
		}
		n.queuePorts(conn, open)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("write nftables rules of host ports: %w", err)
	}
	return nil
}

// allowLoopback lets packets from 127.0.0.1 go to the node's pods, and only there. The guard rules keep pods from
// making use of it.
func (n *Network) allowLoopback() error {
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+n.bridge+"/route_localnet", []byte("1"), 0); err != nil {
		return fmt.Errorf("let loopback addresses reach pods: %w", err)
	}
	return nil
}

func (n *Network) queuePorts(conn *nftables.Conn, open map[hostPort]netip.AddrPort) {
	table := conn.AddTable(n.portTable())
	add := func(chain *nftables.Chain, comment string, parts ...[]expr.Any) {
		rule := &nftables.Rule{Table: table, Chain: chain, Exprs: join(parts...)}
		if comment != "" {
			rule.UserData = userdata.AppendString(nil, userdata.TypeComment, comment)
		}
		conn.AddRule(rule)
	}
	base := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
		return conn.AddChain(&nftables.Chain{Name: name, Table: table, Type: kind, Hooknum: hook, Priority: &priority})
	}
	ports := conn.AddChain(&nftables.Chain{Name: portChain, Table: table})
	// Ports of one address go before those of all.
	keys := slices.SortedFunc(maps.Keys(open), hostPort.compare)
	slices.SortStableFunc(keys, func(a, b hostPort) int { return b2i(b.ip.IsValid()) - b2i(a.ip.IsValid()) })
	for _, p := range keys {
		add(ports, comment(p, open[p]), asksFor(p), translate(open[p]))
	}
	guard := base("guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, priorityGuard)
	for _, offset := range []uint32{12, 16} {
		add(guard, "", in(n.bridge), inPrefix(offset, loopback), verdict(expr.VerdictDrop, ""))
	}
	for name, hook := range map[string]*nftables.ChainHook{"prerouting": nftables.ChainHookPrerouting, "output": nftables.ChainHookOutput} {
		chain := base(name, nftables.ChainTypeNAT, hook, priorityTranslate)
		if n.cfg.ServiceCIDR.IsValid() && n.cfg.ServiceCIDR.Addr().Is4() {
			// The machine may own addresses of Services, which are not the node's.
			add(chain, "", inPrefix(16, n.cfg.ServiceCIDR), verdict(expr.VerdictReturn, ""))
		}
		add(chain, "", toMachine(), verdict(expr.VerdictJump, portChain))
	}
	masquerade := base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, priorityMasquerade)
	add(masquerade, "", out(n.bridge), inPrefix(12, loopback), translated(), []expr.Any{&expr.Masq{}})
	// A pod that reaches itself through the machine's port must see the machine as the client.
	targets := map[netip.Addr]bool{}
	for _, to := range open {
		if self := netip.PrefixFrom(to.Addr(), 32); !targets[to.Addr()] {
			targets[to.Addr()] = true
			add(masquerade, "", inPrefix(12, self), inPrefix(16, self), translated(), []expr.Any{&expr.Masq{}})
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// asksFor matches packets to a port.
func asksFor(p hostPort) []expr.Any {
	var address []expr.Any
	if p.ip.IsValid() {
		address = inPrefix(16, netip.PrefixFrom(p.ip, 32))
	}
	return join(address, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p.protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(p.port)},
	})
}

// translate sends a connection on.
func translate(to netip.AddrPort) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(to.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
	}
}

// translated matches packets of connections that were sent on.
func translated() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(statusDNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// toMachine matches packets to an address that the machine owns.
func toMachine() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

func in(device string) []expr.Any  { return through(expr.MetaKeyIIFNAME, device) }
func out(device string) []expr.Any { return through(expr.MetaKeyOIFNAME, device) }

func through(key expr.MetaKey, device string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, device)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name}}
}

func verdict(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}
