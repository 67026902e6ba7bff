package nftables

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"karve.dev/karve/agents/proxy/dataplane"
)

// body is what a chain does. Its printed form (%v) must tell it from any other.
type body interface {
	write(w *writer, c *chain) error
}

// bodyFormat is part of every digest: it changes when rules are written differently from the same body.
const bodyFormat = 1

// digest stands for a chain's rules, so that a restart knows them without reading them.
func digest(b body) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %T %v", bodyFormat, b, b))
	return string(sum[:8])
}

// turns gives connections to endpoints in even turns: one rule with a map of the endpoints.
type turns struct {
	protocol  dataplane.Protocol
	endpoints []dataplane.Endpoint
}

func (t turns) write(w *writer, c *chain) error {
	addr := c.family.addressType()
	set := w.anonymousMap(nftables.MustConcatSetType(addr, nftables.TypeInetService))
	n := len(t.endpoints)
	elements := make([]nftables.SetElement, n)
	// Counting starts anew with every rewrite: starting anywhere keeps the first endpoint from getting more.
	for i, start := 0, rand.IntN(n); i < n; i++ {
		elements[i] = nftables.SetElement{Key: index(i), Val: addressPort(t.endpoints[(start+i)%n].Addr)}
	}
	if err := w.addAnonymous(set, elements); err != nil {
		return err
	}
	w.rules(c.name(), [][]expr.Any{rule(isProtocol(t.protocol), takeTurn(n), lookup(set, reg(0)), c.family.translate(0))}, c.server)
	return nil
}

// sticky sends clients to the endpoint that they were sent to last, and new ones to endpoints in turns. Endpoints are
// named by their chains.
type sticky []groupID

func (s sticky) write(w *writer, c *chain) error {
	var rules [][]expr.Any
	set := w.anonymousMap(nftables.TypeVerdict)
	elements := make([]nftables.SetElement, len(s))
	for i, id := range s {
		name := endpointChain(c.family, id)
		rules = append(rules, rule(c.family.address(c.family.saddr), inSet(clientsPrefix+name), goTo(name)))
		elements[i] = nftables.SetElement{Key: index(i), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: name}}
	}
	if err := w.addAnonymous(set, elements); err != nil {
		return err
	}
	w.rules(c.name(), append(rules, rule(takeTurn(len(s)), lookup(set, unix.NFT_REG_VERDICT))), c.server)
	return nil
}

// stuck is one endpoint of a sticky chain: it remembers the client and sends it on. Remembering has a rule of its own,
// so that a full set costs the affinity and not the connection.
type stuck struct {
	protocol dataplane.Protocol
	addr     netip.AddrPort
	timeout  time.Duration
}

func (s stuck) write(w *writer, c *chain) error {
	f := c.family
	remember := &expr.Dynset{SrcRegKey: reg(0), SetName: clientsPrefix + c.name(), Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: s.timeout}
	w.rules(c.name(), [][]expr.Any{
		rule(f.address(f.saddr), remember),
		rule(isProtocol(s.protocol), immediate(0, s.addr.Addr().AsSlice()), immediate(f.words, bigEndianPort(s.addr)), f.translate(0)),
	}, c.server)
	return nil
}

// split tells clients inside the cluster (pods, and the host itself) from those outside. A chain may be "": then there
// is nowhere to go, and another table entry says what becomes of the connection.
type split struct {
	inside, outside string
	pods            []netip.Prefix
}

func (s split) write(w *writer, c *chain) error {
	var rules [][]expr.Any
	for _, p := range s.pods {
		if c.family.matches(p) {
			rules = append(rules, rule(c.family.prefix(c.family.saddr, p), goTo(s.inside)))
		}
	}
	rules = append(rules, rule(addressIsLocal(true, expr.CmpOpEq), goTo(s.inside)))
	if s.outside != "" {
		rules = append(rules, rule(goTo(s.outside)))
	}
	w.rules(c.name(), rules, c.server)
	return nil
}

// affinityLimit bounds the clients that a node remembers of one endpoint.
const affinityLimit = 65536

// clients declares the set of clients that stick to an endpoint. The kernel writes it.
func (w *writer) clients(f *family, chain string) *nftables.Set {
	return &nftables.Set{
		Table: w.table, ID: w.nextID(), Name: clientsPrefix + chain, KeyType: f.addressType(),
		Dynamic: true, HasTimeout: true, Size: affinityLimit,
	}
}

// isProtocol matches what a chain is for anyway: nft reads a translation of ports back only after such a match.
func isProtocol(p dataplane.Protocol) []expr.Any {
	return []expr.Any{loadProtocol(0), &expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: []byte{byte(p)}}}
}

// takeTurn puts the number of the next of n turns in register 0, in network byte order.
func takeTurn(n int) []expr.Any {
	return []expr.Any{
		&expr.Numgen{Register: reg(0), Modulus: uint32(n), Type: unix.NFT_NG_INCREMENTAL},
		&expr.Byteorder{SourceRegister: reg(0), DestRegister: reg(0), Op: expr.ByteorderHton, Len: 4, Size: 4},
	}
}

// lookup takes the value for register 0 from an anonymous map.
func lookup(set *nftables.Set, into uint32) expr.Any {
	return &expr.Lookup{SourceRegister: reg(0), SetName: set.Name, SetID: set.ID, IsDestRegSet: true, DestRegister: into}
}

// translate sends the connection to the address and port in registers.
func (f *family) translate(from uint32) expr.Any {
	return &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f.proto), RegAddrMin: reg(from), RegProtoMin: reg(from + f.words), Specified: true}
}

func index(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }

func bigEndianPort(a netip.AddrPort) []byte { return binary.BigEndian.AppendUint16(nil, a.Port()) }

// addressPort encodes an endpoint as a map's value.
func addressPort(a netip.AddrPort) []byte {
	return append(append(a.Addr().AsSlice(), bigEndianPort(a)...), 0, 0)
}

// anonymousMap declares a map from turns to values, which lives and dies with the rule that uses it.
func (w *writer) anonymousMap(value nftables.SetDatatype) *nftables.Set {
	return &nftables.Set{
		Table: w.table, ID: w.nextID(), Name: "__map%d", Anonymous: true, Constant: true,
		IsMap: true, KeyType: nftables.TypeInteger, DataType: value,
	}
}

func (w *writer) addAnonymous(set *nftables.Set, elements []nftables.SetElement) error {
	first := elements[:min(len(elements), maxElements)]
	if err := w.conn.AddSet(set, first); err != nil {
		return err
	}
	for rest := elements[len(first):]; len(rest) > 0; {
		n := min(len(rest), maxElements)
		// The library adds to named sets only; within the transaction the kernel knows this one by its id.
		open := *set
		open.Anonymous = false
		if err := w.conn.SetAddElements(&open, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}
