package nftables

import (
	"net/netip"

	"karve.dev/karve/agents/proxy/dataplane"
)

// place gives endpoints their indexes so that as few as possible change: who stays keeps its index, newcomers take
// the freed ones, and the last move into holes when there are fewer than before.
func place(before []netip.AddrPort, endpoints []dataplane.Endpoint) []netip.AddrPort {
	wanted := make(map[netip.AddrPort]bool, len(endpoints))
	for _, ep := range endpoints {
		wanted[ep.Addr] = true
	}
	out := make([]netip.AddrPort, len(endpoints))
	for i, addr := range before {
		if i < len(out) && wanted[addr] {
			out[i] = addr
			delete(wanted, addr)
		}
	}
	free := 0
	for _, ep := range endpoints {
		if !wanted[ep.Addr] {
			continue
		}
		delete(wanted, ep.Addr)
		for out[free].IsValid() {
			free++
		}
		out[free] = ep.Addr
	}
	return out
}
