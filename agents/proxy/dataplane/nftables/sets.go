package nftables

import (
	"github.com/google/nftables"
)

// Names of the sets and maps; each exists once a family.
const (
	// setServices maps a frontend's address . protocol . port to the chain that serves it.
	setServices = "services"
	// setNodePorts maps protocol . port, on the host's own addresses, likewise.
	setNodePorts = "nodeports"
	// setUnserved maps frontends that cannot be served to reject or drop.
	setUnserved = "unserved"
	// setUnservedPorts is the same for node ports.
	setUnservedPorts = "unservedports"
	// setOnHost and setRemote hold the addresses of endpoints, by where they live.
	setOnHost = "onhost"
	setRemote = "remote"
	// setHairpin holds address . address of endpoints on the host: a connection that goes back where it came from.
	setHairpin = "hairpin"
	// setShapes maps a chain to what its rules were made from, so that a restart knows them without reading them.
	setShapes = "shapes"
	// setOwned holds the addresses that a helped balancer has on the host, setClaims every frontend that it has in
	// the kernel (address . protocol . port), so that what a dead process left can be told from what others made.
	setOwned  = "owned"
	setClaims = "claims"
)

func (f *family) addressType() nftables.SetDatatype {
	if f == ip6 {
		return nftables.TypeIP6Addr
	}
	return nftables.TypeIPAddr
}

// sets declares every set of a family.
func (f *family) sets(table *nftables.Table) []*nftables.Set {
	addr, mark := f.addressType(), nftables.TypeMark
	proto, port, concat := nftables.TypeInetProto, nftables.TypeInetService, nftables.MustConcatSetType
	named := func(name string, key nftables.SetDatatype) *nftables.Set {
		return &nftables.Set{Table: table, Name: name + f.suffix, KeyType: key}
	}
	mapped := func(name string, key, data nftables.SetDatatype) *nftables.Set {
		s := named(name, key)
		s.IsMap, s.DataType = true, data
		return s
	}
	return []*nftables.Set{
		mapped(setServices, concat(addr, proto, port), nftables.TypeVerdict),
		mapped(setNodePorts, concat(proto, port), nftables.TypeVerdict),
		mapped(setUnserved, concat(addr, proto, port), nftables.TypeVerdict),
		mapped(setUnservedPorts, concat(proto, port), nftables.TypeVerdict),
		named(setOnHost, addr),
		named(setRemote, addr),
		named(setHairpin, concat(addr, addr)),
		named(setOwned, addr),
		named(setClaims, concat(addr, proto, port)),
		mapped(setShapes, concat(mark, mark), concat(mark, mark)),
	}
}

// verdictSets are the maps whose values are verdicts.
var verdictSets = map[string]bool{setServices: true, setNodePorts: true, setUnserved: true, setUnservedPorts: true}

// conntrack status bit IPS_DST_NAT: the connection's destination was translated.
const statusDNAT = 0x20

// Priorities. Service translation comes before Docker's (-100), a node's own pods before everybody's; refusals come
// before the filter chains of others (0), which may drop.
const (
	priorityGuard      = -300
	priorityOwnPods    = -105
	priorityEveryone   = -101
	priorityFilter     = -10
	priorityMasquerade = 95
)
