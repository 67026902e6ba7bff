package ipvs

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"karve.dev/karve/agents/proxy/dataplane"
	"karve.dev/karve/agents/proxy/dataplane/nftables"
)

// Planning: which virtual services IPVS should have, and the steps from what it has. Pure.

// key names a virtual service of IPVS: an address, a protocol and a port.
type key = nftables.Claim

// virtual is a virtual service with its destinations and their weights. A destination of weight 0 drains.
type virtual struct {
	affinity     uint32 // seconds; 0 for none
	destinations map[netip.AddrPort]uint32
	server       *dataplane.VirtualServer // whom it serves; nil when only the kernel knows it
}

// wanted returns the virtual services of a state. hostAddresses are those on which node ports answer. One without
// endpoints is not wanted: it is refused before IPVS sees it.
func wanted(servers []dataplane.VirtualServer, hostAddresses []netip.Addr) map[key]*virtual {
	out := map[key]*virtual{}
	for i := range servers {
		v := &servers[i]
		for _, fe := range v.Frontends {
			endpoints := v.Endpoints
			if fe.Local {
				endpoints = v.LocalEndpoints
			}
			if len(endpoints) == 0 {
				continue
			}
			s := &virtual{affinity: uint32(v.Affinity.Seconds()), destinations: map[netip.AddrPort]uint32{}, server: v}
			for _, ep := range endpoints {
				s.destinations[ep.Addr] = 1
			}
			for _, addr := range answersOn(fe, v.IPv6, hostAddresses) {
				out[key{Addr: addr, Protocol: v.Protocol, Port: fe.Port}] = s
			}
		}
	}
	return out
}

func answersOn(fe dataplane.Frontend, ipv6 bool, hostAddresses []netip.Addr) []netip.Addr {
	if fe.Kind != dataplane.NodePort {
		return []netip.Addr{fe.Addr}
	}
	var out []netip.Addr
	for _, a := range hostAddresses {
		if a.Is6() == ipv6 {
			out = append(out, a)
		}
	}
	return out
}

// verb is what a step does.
type verb uint8

const (
	addService verb = iota
	editService
	removeService
	addDestination
	editDestination
	removeDestination
)

// step is one call into the kernel.
type step struct {
	verb        verb
	key         key
	affinity    uint32
	destination netip.AddrPort
	weight      uint32
}

// plan returns the steps from have to want. Services in have must be this node's own.
func plan(have, want map[key]*virtual) []step {
	var out []step
	for _, k := range sorted(want) {
		w, h := want[k], have[k]
		switch {
		case h == nil:
			out = append(out, step{verb: addService, key: k, affinity: w.affinity})
			h = &virtual{}
		case h.affinity != w.affinity:
			out = append(out, step{verb: editService, key: k, affinity: w.affinity})
		}
		out = append(out, destinations(k, h, w)...)
	}
	for _, k := range sorted(have) {
		if want[k] == nil {
			out = append(out, retire(k, have[k])...)
		}
	}
	return out
}

func sorted(m map[key]*virtual) []key {
	return slices.SortedFunc(maps.Keys(m), func(a, b key) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
}

func destinations(k key, have, want *virtual) []step {
	var out []step
	for _, d := range slices.SortedFunc(maps.Keys(want.destinations), netip.AddrPort.Compare) {
		weight, exists := have.destinations[d]
		switch {
		case !exists:
			out = append(out, step{verb: addDestination, key: k, destination: d, weight: 1})
		case weight != 1:
			out = append(out, step{verb: editDestination, key: k, destination: d, weight: 1})
		}
	}
	cut := map[netip.AddrPort]bool{}
	if want.server != nil {
		for _, d := range want.server.Cut {
			cut[d] = true
		}
	}
	for _, d := range slices.SortedFunc(maps.Keys(have.destinations), netip.AddrPort.Compare) {
		if _, stays := want.destinations[d]; !stays {
			out = append(out, leave(k, d, have.destinations[d], cut[d])...)
		}
	}
	return out
}

// leave removes a destination: at once where nothing can drain, else by giving it no new connections.
func leave(k key, d netip.AddrPort, weight uint32, cut bool) []step {
	switch {
	case k.Protocol == dataplane.UDP || cut:
		return []step{{verb: removeDestination, key: k, destination: d}}
	case weight != 0:
		return []step{{verb: editDestination, key: k, destination: d, weight: 0}}
	}
	return nil
}

// retire lets a service that nobody wants drain; it goes at once when it has no destinations or cannot drain.
func retire(k key, v *virtual) []step {
	if k.Protocol == dataplane.UDP || len(v.destinations) == 0 {
		return []step{{verb: removeService, key: k}}
	}
	var out []step
	for _, d := range slices.SortedFunc(maps.Keys(v.destinations), netip.AddrPort.Compare) {
		out = append(out, leave(k, d, v.destinations[d], false)...)
	}
	return out
}

// carry notes a step's outcome in have.
func carry(have map[key]*virtual, s step) {
	switch s.verb {
	case addService, editService:
		if have[s.key] == nil {
			have[s.key] = &virtual{destinations: map[netip.AddrPort]uint32{}}
		}
		have[s.key].affinity = s.affinity
	case removeService:
		delete(have, s.key)
	case addDestination, editDestination:
		have[s.key].destinations[s.destination] = s.weight
	case removeDestination:
		delete(have[s.key].destinations, s.destination)
	}
}
