package podcidr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// maxBlockBits bounds the pool to 65536 blocks; a larger range is used up to there.
const maxBlockBits = 16

// pool hands out equal blocks of a range. It is not safe for concurrent use.
type pool struct {
	cluster netip.Prefix
	bits    int
	blocks  int
	// owners of each block that is taken: usually one; more when somebody else has given it out twice.
	owners map[int]map[string]bool
	// byOwner is the same the other way round.
	byOwner map[string][]int
	// next is where the search for a free block begins, so that a block rests before it is given out again.
	next int
}

var errFull = errors.New("no block is free")

func newPool(cluster netip.Prefix, bits int) (*pool, error) {
	widest := 30 // a bridge, one pod, broadcast
	if cluster.Addr().Is6() {
		widest = 64
	}
	if !cluster.IsValid() || bits < cluster.Bits() || bits > widest {
		return nil, fmt.Errorf("a node's range of /%d must lie between the pods' range %s and /%d", bits, cluster, widest)
	}
	return &pool{
		cluster: cluster.Masked(), bits: bits, blocks: 1 << min(bits-cluster.Bits(), maxBlockBits),
		owners: map[int]map[string]bool{}, byOwner: map[string][]int{},
	}, nil
}

// position is an address's first 64 bits as a number; an IPv4 address is followed by zeros.
func position(a netip.Addr) uint64 {
	if a.Is4() {
		raw := a.As4()
		return uint64(binary.BigEndian.Uint32(raw[:])) << 32
	}
	raw := a.As16()
	return binary.BigEndian.Uint64(raw[:8])
}

// block returns the nth block.
func (p *pool) block(n int) netip.Prefix {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], position(p.cluster.Addr())+uint64(n)<<(64-p.bits))
	if p.cluster.Addr().Is4() {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(raw[:4])), p.bits)
	}
	return netip.PrefixFrom(netip.AddrFrom16(raw), p.bits)
}

// span returns the blocks from first to last that a range overlaps; none when first > last.
func (p *pool) span(r netip.Prefix) (first, last int) {
	if !r.Overlaps(p.cluster) {
		return 0, -1
	}
	base, at := position(p.cluster.Addr()), position(r.Masked().Addr())
	if at > base {
		first = int((at - base) >> (64 - p.bits))
	}
	last = first
	if r.Bits() < p.bits {
		last += 1<<min(p.bits-max(r.Bits(), p.cluster.Bits()), maxBlockBits) - 1
	}
	return first, min(last, p.blocks-1)
}

// take gives owner a free block, or the one that it has.
func (p *pool) take(owner string) (netip.Prefix, error) {
	if have := p.byOwner[owner]; len(have) > 0 {
		return p.block(have[0]), nil
	}
	for range p.blocks {
		n := p.next
		p.next = (p.next + 1) % p.blocks
		if len(p.owners[n]) == 0 {
			p.mark(n, owner)
			return p.block(n), nil
		}
	}
	return netip.Prefix{}, errFull
}

// occupy notes that owner has a range, whoever gave it: every block that overlaps it is taken. It returns who else has
// one of them, "" for nobody.
func (p *pool) occupy(owner string, r netip.Prefix) (other string) {
	first, last := p.span(r)
	for n := first; n <= last; n++ {
		for o := range p.owners[n] {
			if o != owner {
				other = o
			}
		}
		p.mark(n, owner)
	}
	return other
}

func (p *pool) mark(n int, owner string) {
	if p.owners[n][owner] {
		return
	}
	if p.owners[n] == nil {
		p.owners[n] = map[string]bool{}
	}
	p.owners[n][owner] = true
	p.byOwner[owner] = append(p.byOwner[owner], n)
}

// release frees what owner has; it says whether that was anything.
func (p *pool) release(owner string) bool {
	have := p.byOwner[owner]
	for _, n := range have {
		delete(p.owners[n], owner)
		if len(p.owners[n]) == 0 {
			delete(p.owners, n)
		}
	}
	delete(p.byOwner, owner)
	return len(have) > 0
}
