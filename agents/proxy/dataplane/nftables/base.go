package nftables

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"karve.dev/karve/agents/proxy/dataplane"
)

// The base chains: what hooks into the kernel and looks frontends up in the maps. They change only with the
// configuration, never with a Service.

// format names a chain by which a table is known to be one that this code can go on with; any other is made anew. It
// changes when a new release can no longer read what an older one wrote.
func (l layout) format() string {
	if l.helper {
		return "format-2-helper"
	}
	return "format-2"
}

const (
	chainReject     = "refuse"
	chainServices   = "services"
	chainMasquerade = "masquerade"
	chainUnserved   = "unserved"
)

// baseChain is a chain with all its rules; hook is nil for one that is only jumped to.
type baseChain struct {
	name     string
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority nftables.ChainPriority
	rules    [][]expr.Any
}

// layout is what the base chains are made from.
type layout struct {
	networks dataplane.Networks
	// localPods are the ranges of the node's pods, hostPods those of all pods on this host.
	localPods, hostPods []netip.Prefix
	// helper says that another balancer (IPVS) translates: this table only refuses, masquerades, and serves node
	// ports on loopback addresses, which IPVS cannot.
	helper bool
}

// mark names the layout, so that a later process knows whether the base chains are still right.
func (l layout) mark() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "3 %v %v %v %v", l.networks, l.localPods, l.hostPods, l.helper))
	return "layout-" + hex.EncodeToString(sum[:6])
}

func (l layout) chains() []baseChain {
	nat, filter := nftables.ChainTypeNAT, nftables.ChainTypeFilter
	out := []baseChain{
		{name: chainReject, rules: rejectRules()},
		{name: "guard", kind: filter, hook: nftables.ChainHookPrerouting, priority: priorityGuard, rules: guardRules()},
	}
	var own, all, masq, unserved [][]expr.Any
	unserved = append(unserved, rule(conntrackBit(expr.CtKeySTATE, expr.CtStateBitNEW, expr.CmpOpEq), verdict(expr.VerdictAccept)))
	for _, f := range families {
		if !l.helper {
			out = append(out, baseChain{name: chainServices + f.suffix, rules: l.serviceRules(f)})
		}
		out = append(out,
			baseChain{name: chainMasquerade + f.suffix, rules: l.masqueradeRules(f)},
			baseChain{name: chainUnserved + f.suffix, rules: l.unservedRules(f)})
		all = append(all, rule(f.isFamily(), jump(chainServices+f.suffix)))
		masq = append(masq, rule(f.isFamily(), jump(chainMasquerade+f.suffix)))
		unserved = append(unserved, rule(f.isFamily(), jump(chainUnserved+f.suffix)))
		for _, p := range l.ownPods() {
			if f.matches(p) {
				own = append(own, rule(f.prefix(f.saddr, p), jump(chainServices+f.suffix)))
			}
		}
	}
	out = append(out,
		baseChain{name: "postrouting", kind: nat, hook: nftables.ChainHookPostrouting, priority: priorityMasquerade, rules: masq},
		baseChain{name: "filter-input", kind: filter, hook: nftables.ChainHookInput, priority: priorityFilter, rules: unserved},
		baseChain{name: "filter-forward", kind: filter, hook: nftables.ChainHookForward, priority: priorityFilter, rules: append(l.strayRules(), unserved...)},
		baseChain{name: "filter-output", kind: filter, hook: nftables.ChainHookOutput, priority: priorityFilter, rules: unserved},
	)
	if l.helper {
		return append(out, baseChain{name: "output", kind: nat, hook: nftables.ChainHookOutput, priority: priorityEveryone, rules: l.loopbackRules()})
	}
	return append(out,
		baseChain{name: "ownpods", kind: nat, hook: nftables.ChainHookPrerouting, priority: priorityOwnPods, rules: own},
		baseChain{name: "prerouting", kind: nat, hook: nftables.ChainHookPrerouting, priority: priorityEveryone, rules: all},
		baseChain{name: "output", kind: nat, hook: nftables.ChainHookOutput, priority: priorityEveryone, rules: all},
	)
}

func (l layout) ownPods() []netip.Prefix {
	if len(l.localPods) > 0 {
		return l.localPods
	}
	return l.networks.Pods
}

// guardRules keep loopback addresses off the wire: node ports on 127.0.0.1 need route_localnet, which would
// otherwise let neighbours reach what listens on loopback only.
func guardRules() [][]expr.Any {
	notLoopback := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg(0), Data: []byte("lo\x00")},
	}
	return [][]expr.Any{
		rule(notLoopback, ip4.prefix(ip4.daddr, ip4.loopback()), verdict(expr.VerdictDrop)),
		rule(notLoopback, ip4.prefix(ip4.saddr, ip4.loopback()), verdict(expr.VerdictDrop)),
	}
}

// strayRules drop packets of pods that connection tracking cannot place. They are not translated back, so that a client
// would see them come from the pod's own address, and reset the connection.
func (l layout) strayRules() [][]expr.Any {
	var out [][]expr.Any
	for _, p := range l.ownPods() {
		f := familyOf(p.Addr().Is6())
		out = append(out, rule(f.prefix(f.saddr, p), conntrackBit(expr.CtKeySTATE, expr.CtStateBitINVALID, expr.CmpOpNeq), verdict(expr.VerdictDrop)))
	}
	return out
}

func rejectRules() [][]expr.Any {
	return [][]expr.Any{
		rule(isProtocol(dataplane.TCP), &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}),
		rule(&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}),
	}
}

// nodePort matches packets to an address on which node ports answer; the chain goes on with then.
func (l layout) nodePort(f *family, then ...any) [][]expr.Any {
	lookup := []any{addressIsLocal(false, expr.CmpOpEq)}
	if len(l.networks.NodePorts) == 0 {
		return [][]expr.Any{rule(append(lookup, then...)...)}
	}
	var out [][]expr.Any
	for _, p := range l.networks.NodePorts {
		if f.matches(p) {
			out = append(out, rule(append(append([]any{f.prefix(f.daddr, p)}, lookup...), then...)...))
		}
	}
	return out
}

func (l layout) serviceRules(f *family) [][]expr.Any {
	byAddress := rule(f.frontend(), verdictFrom(setServices+f.suffix))
	byPort := rule(loadProtocol(0), loadPort(1), verdictFrom(setNodePorts+f.suffix))
	return append([][]expr.Any{byAddress}, l.nodePort(f, byPort)...)
}

func (l layout) unservedRules(f *family) [][]expr.Any {
	byAddress := rule(f.frontend(), verdictFrom(setUnserved+f.suffix))
	byPort := rule(loadProtocol(0), loadPort(1), verdictFrom(setUnservedPorts+f.suffix))
	out := append([][]expr.Any{byAddress}, l.nodePort(f, byPort)...)
	if l.helper {
		// The host owns the addresses that IPVS serves; what else listens on the host must not answer there.
		out = append(out,
			rule(f.frontend(), verdictFrom(setServices+f.suffix)),
			rule(f.address(f.daddr), inSet(setOwned+f.suffix), goTo(chainReject)))
	}
	for _, p := range l.networks.Services {
		if f.matches(p) {
			// An address in here that the host owns is somebody's on purpose (the node's DNS, say).
			out = append(out, rule(f.prefix(f.daddr, p), addressIsLocal(false, expr.CmpOpNeq), goTo(chainReject)))
		}
	}
	return out
}

// untranslatedReturns leave connections alone that no Service is behind. IPVS does not mark what it translates.
func (l layout) untranslatedReturns(f *family) [][]expr.Any {
	if !l.helper {
		return [][]expr.Any{rule(conntrackBit(expr.CtKeySTATUS, statusDNAT, expr.CmpOpEq), verdict(expr.VerdictReturn))}
	}
	var out [][]expr.Any
	for _, p := range l.networks.Pods {
		if f.matches(p) {
			out = append(out, rule(askedFor(p), verdict(expr.VerdictReturn)))
		}
	}
	return out
}

// loopbackRules serve node ports on 127.0.0.0/8 beside IPVS, which refuses to send such packets out.
func (l layout) loopbackRules() [][]expr.Any {
	return [][]expr.Any{rule(ip4.prefix(ip4.daddr, ip4.loopback()),
		loadProtocol(0), loadPort(1), verdictFrom(setNodePorts+ip4.suffix))}
}

// masqueradeRules replace the client's address only where answers would not find their way back otherwise.
func (l layout) masqueradeRules(f *family) [][]expr.Any {
	masquerade := &expr.Masq{}
	out := l.untranslatedReturns(f)
	out = append(out,
		rule(f.address(f.saddr), f.network(f.daddr, f.words), inSet(setHairpin+f.suffix), masquerade),
		rule(f.prefix(f.saddr, f.loopback()), masquerade))
	if l.helper {
		// To reach a cluster IP on its own interface the host itself takes that very address as source.
		for _, p := range l.networks.Services {
			if f.matches(p) {
				out = append(out, rule(f.prefix(f.saddr, p), masquerade))
			}
		}
	}
	out = append(out,
		rule(f.address(f.daddr), inSet(setOnHost+f.suffix), verdict(expr.VerdictReturn)),
		rule(f.address(f.daddr), notInSet(setRemote+f.suffix), verdict(expr.VerdictReturn)))
	// Answers to pods on this host come back through it anyway.
	for _, p := range l.hostPods {
		if f.matches(p) {
			out = append(out, rule(f.prefix(f.saddr, p), verdict(expr.VerdictReturn)))
		}
	}
	return append(out, rule(masquerade))
}
