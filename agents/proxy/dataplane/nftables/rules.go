package nftables

import (
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Rules are lists of expressions over 32-bit registers, numbered from 0 here. Values of several registers side by
// side are a concatenation, the key of a map.
const reg0 = unix.NFT_REG32_00

func reg(n uint32) uint32 { return reg0 + n }

// family holds what differs between IPv4 and IPv6.
type family struct {
	suffix       string
	proto        uint8 // NFPROTO_*, which is also AF_*
	words        uint32
	saddr, daddr uint32 // offsets in the network header
}

var (
	ip4 = &family{suffix: "4", proto: unix.NFPROTO_IPV4, words: 1, saddr: 12, daddr: 16}
	ip6 = &family{suffix: "6", proto: unix.NFPROTO_IPV6, words: 4, saddr: 8, daddr: 24}

	families = []*family{ip4, ip6}
)

func familyOf(ipv6 bool) *family {
	if ipv6 {
		return ip6
	}
	return ip4
}

var (
	loopback4 = netip.MustParsePrefix("127.0.0.0/8")
	loopback6 = netip.MustParsePrefix("::1/128")
)

func (f *family) loopback() netip.Prefix {
	if f == ip6 {
		return loopback6
	}
	return loopback4
}

func (f *family) matches(p netip.Prefix) bool { return p.Addr().Is6() == (f == ip6) }

// network loads an address of the packet. The rule must have matched the family before.
func (f *family) network(offset, into uint32) expr.Any {
	return &expr.Payload{DestRegister: reg(into), Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4 * f.words}
}

// frontend loads what a connection asks for: address . protocol . port.
func (f *family) frontend() []expr.Any {
	return append(f.isFamily(), f.network(f.daddr, 0), loadProtocol(f.words), loadPort(f.words+1))
}

// isFamily matches packets of the family.
func (f *family) isFamily() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: []byte{f.proto}},
	}
}

func loadProtocol(into uint32) expr.Any {
	return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg(into)}
}

func loadPort(into uint32) expr.Any {
	return &expr.Payload{DestRegister: reg(into), Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
}

// prefix matches the family and an address of the packet against a range.
func (f *family) prefix(offset uint32, p netip.Prefix) []expr.Any {
	return append(append(f.isFamily(), f.network(offset, 0)), inPrefix(p)...)
}

// address loads an address, after matching the family.
func (f *family) address(offset uint32) []expr.Any {
	return append(f.isFamily(), f.network(offset, 0))
}

// inPrefix compares the address in register 0 with a range.
func inPrefix(p netip.Prefix) []expr.Any {
	addr := p.Masked().Addr().AsSlice()
	if p.IsSingleIP() {
		return []expr.Any{&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: addr}}
	}
	mask := make([]byte, len(addr))
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		&expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: uint32(len(addr)), Mask: mask, Xor: make([]byte, len(addr))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: addr},
	}
}

// addressIsLocal matches when the routing table calls the source or destination address the host's own.
func addressIsLocal(source bool, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: reg(0), ResultADDRTYPE: true, FlagSADDR: source, FlagDADDR: !source},
		&expr.Cmp{Op: op, Register: reg(0), Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

// conntrackBit matches when one of bits is set (or none is, with op equal) in a conntrack field.
func conntrackBit(key expr.CtKey, bits uint32, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: reg(0)},
		&expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: reg(0), Data: make([]byte, 4)},
	}
}

// askedFor matches the address that the connection was opened to, before any translation.
func askedFor(p netip.Prefix) []expr.Any {
	return append([]expr.Any{&expr.Ct{Key: expr.CtKeyDST, Register: reg(0)}}, inPrefix(p)...)
}

// verdictFrom takes the verdict that a map has for the key in register 0 onwards.
func verdictFrom(set string) expr.Any {
	return &expr.Lookup{SourceRegister: reg(0), SetName: set, IsDestRegSet: true, DestRegister: unix.NFT_REG_VERDICT}
}

func inSet(set string) expr.Any { return &expr.Lookup{SourceRegister: reg(0), SetName: set} }

func notInSet(set string) expr.Any {
	return &expr.Lookup{SourceRegister: reg(0), SetName: set, Invert: true}
}

func jump(chain string) expr.Any { return &expr.Verdict{Kind: expr.VerdictJump, Chain: chain} }

func goTo(chain string) expr.Any { return &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain} }

func verdict(kind expr.VerdictKind) expr.Any { return &expr.Verdict{Kind: kind} }

func immediate(into uint32, value []byte) expr.Any {
	return &expr.Immediate{Register: reg(into), Data: value}
}

// rule joins parts of a rule.
func rule(parts ...any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		switch p := p.(type) {
		case []expr.Any:
			out = append(out, p...)
		case expr.Any:
			out = append(out, p)
		}
	}
	return out
}
