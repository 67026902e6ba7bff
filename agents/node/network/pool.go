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
	used map[netip.Addr]bool
}

func (p *pool) serve(cidr netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cidr != cidr {
		p.cidr, p.last = cidr, gateway(cidr)
	}
}

func (p *pool) take() (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.cidr.IsValid() {
		return netip.Addr{}, ErrNotReady
	}
	for addr := p.next(p.last); addr != p.last; addr = p.next(addr) {
		if !p.used[addr] {
			p.mark(addr)
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

func (p *pool) mark(addr netip.Addr) {
	if p.used == nil {
		p.used = map[netip.Addr]bool{}
	}
	p.used[addr] = true
}

func (p *pool) reserve(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mark(addr)
	if !p.last.IsValid() || p.last.Less(addr) {
		p.last = addr
	}
}

func (p *pool) release(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, addr)
}

// Allocate takes a free address.
func (n *Network) Allocate() (netip.Addr, error) { return n.pool.take() }

// Reserve marks an address that is in use already: that of a pod found running.
func (n *Network) Reserve(addr netip.Addr) { n.pool.reserve(addr) }

// Release gives an address back.
func (n *Network) Release(addr netip.Addr) { n.pool.release(addr) }
