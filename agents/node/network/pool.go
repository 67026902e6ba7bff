package network

import (
	"fmt"
	"net/netip"
	"sync"
)

// pool hands out a podCIDR's addresses in turns, so that a freed address rests as long as possible. Its state is not
// stored: addresses in use stand in the labels of the sandboxes that use them, and are marked again at start.
type pool struct {
	mu   sync.Mutex
	cidr netip.Prefix
	last netip.Addr
	used map[netip.Addr]string // whose each address is
}

func (p *pool) serve(cidr netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cidr != cidr {
		p.cidr, p.last = cidr, gateway(cidr)
	}
}

func (p *pool) take(owner string) (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.cidr.IsValid() {
		return netip.Addr{}, ErrNotReady
	}
	for addr := p.next(p.last); addr != p.last; addr = p.next(addr) {
		if _, taken := p.used[addr]; !taken {
			p.mark(addr, owner)
			p.last = addr
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no free address left in %s", p.cidr)
}

// next steps through the usable addresses: neither the network's, the gateway's nor the broadcast address.
func (p *pool) next(addr netip.Addr) netip.Addr {
	next := addr.Next()
	if !p.cidr.Contains(next) || !p.cidr.Contains(next.Next()) {
		return gateway(p.cidr).Next()
	}
	return next
}

func (p *pool) mark(addr netip.Addr, owner string) {
	if p.used == nil {
		p.used = map[netip.Addr]string{}
	}
	p.used[addr] = owner
}

// reserve tells whether the address is the owner's now: it was free, or was the owner's already.
func (p *pool) reserve(addr netip.Addr, owner string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if other, taken := p.used[addr]; taken {
		return other == owner
	}
	p.mark(addr, owner)
	if !p.last.IsValid() || p.last.Less(addr) {
		p.last = addr
	}
	return true
}

func (p *pool) inUse(addr netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, used := p.used[addr]
	return used
}

func (p *pool) release(addr netip.Addr, owner string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used[addr] == owner {
		delete(p.used, addr)
	}
}

// Allocate takes a free address for an owner, a pod's UID.
func (n *Network) Allocate(owner string) (netip.Addr, error) { return n.pool.take(owner) }

// Reserve takes an address that a pod was found with; false when it is another's.
func (n *Network) Reserve(addr netip.Addr, owner string) bool { return n.pool.reserve(addr, owner) }

// Release gives an owner's address back.
func (n *Network) Release(addr netip.Addr, owner string) { n.pool.release(addr, owner) }
