package nftables

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"time"

	"karve.dev/karve/agents/proxy/dataplane"
)

// Rendering: from one virtual server to the map elements and chains that serve it. Pure.

// groupID stands for a list of endpoints that take turns. It is a hash of the server's name, so that it outlives
// restarts without being stored.
type groupID [8]byte

func groupOf(server, variant string) groupID {
	sum := sha256.Sum256([]byte(server + "|" + variant))
	return groupID(sum[:8])
}

// element is one entry of a set or map.
type element struct {
	set string // with the family's suffix
	key string
}

// value of a verdict map: "goto chain", "drop" or "accept"; of another map its bytes; of a set "".
const (
	valueGoto   = "goto "
	valueDrop   = "drop"
	valueAccept = "accept"
)

// shape is all that a chain's rules are made from, besides its id and the layout.
type shape struct {
	endpoints uint32
	affinity  uint32 // seconds; with outsiders a hash of the cluster's ranges
}

// outsiders in endpoints marks a chain that tells clients outside the cluster from those inside.
const outsiders = 0xffff0000

func (s shape) bytes() string {
	var out [8]byte
	binary.NativeEndian.PutUint32(out[0:], s.endpoints)
	binary.NativeEndian.PutUint32(out[4:], s.affinity)
	return string(out[:])
}

// chain serves a group, or chooses between two groups (outside and inside are set).
type chain struct {
	family          *family
	id              groupID
	shape           shape
	outside, inside string
}

func (c *chain) name() string { return chainName(c.family, c.id) }

func chainName(f *family, id groupID) string {
	return "svc" + f.suffix + "-" + hex.EncodeToString(id[:])
}

// program is what one virtual server needs in the kernel.
type program struct {
	elements map[element]string
	chains   []*chain
	// groups are the endpoints of each group, in the order of their indexes.
	groups map[groupID][]netip.AddrPort
}

// render translates a virtual server. order gives the endpoints of a group their indexes.
func render(l layout, v *dataplane.VirtualServer, order func(groupID, []dataplane.Endpoint) []netip.AddrPort) *program {
	r := renderer{layout: l, server: v, family: familyOf(v.IPv6), order: order, program: &program{elements: map[element]string{}, groups: map[groupID][]netip.AddrPort{}}}
	if l.helper {
		r.help()
		return r.program
	}
	everyone := r.group("", v.Endpoints)
	var here string
	if r.hasLocalFrontend() {
		here = r.group("local", v.LocalEndpoints)
	}
	for _, fe := range v.Frontends {
		r.frontend(fe, everyone, here)
	}
	return r.program
}

// help renders for a table beside IPVS: what to let pass, what to refuse, and node ports on loopback.
func (r *renderer) help() {
	var everyone string
	if slices.ContainsFunc(r.server.Frontends, func(f dataplane.Frontend) bool { return f.Kind == dataplane.NodePort }) {
		everyone = r.group("", r.server.Endpoints)
	} else {
		r.placeEndpoints(r.server.Endpoints)
	}
	for _, fe := range r.server.Frontends {
		endpoints, unserved := r.server.Endpoints, valueGoto+chainReject
		if fe.Local && len(endpoints) > 0 {
			endpoints, unserved = r.server.LocalEndpoints, valueDrop
		}
		served, refused, key := setServices, setUnserved, r.key(fe)
		if fe.Kind == dataplane.NodePort {
			served, refused = setNodePorts, setUnservedPorts
		} else {
			r.put(setOwned, string(fe.Addr.AsSlice()), "")
		}
		switch {
		case fe.Kind == dataplane.NodePort && everyone != "":
			r.put(served, key, valueGoto+everyone)
		case fe.Kind != dataplane.NodePort && len(endpoints) > 0:
			r.put(served, key, valueAccept)
		}
		if len(endpoints) == 0 {
			r.put(refused, key, unserved)
		}
	}
}

type renderer struct {
	layout  layout
	server  *dataplane.VirtualServer
	family  *family
	order   func(groupID, []dataplane.Endpoint) []netip.AddrPort
	program *program
	split   string // the chain that tells outside from inside, once made
}

func (r *renderer) hasLocalFrontend() bool {
	for _, fe := range r.server.Frontends {
		if fe.Local {
			return true
		}
	}
	return false
}

func (r *renderer) put(set, key, value string) {
	r.program.elements[element{set + r.family.suffix, key}] = value
}

// group makes the chain and elements of endpoints that take turns; it returns "" when there are none.
func (r *renderer) group(variant string, endpoints []dataplane.Endpoint) string {
	if len(endpoints) == 0 {
		return ""
	}
	id := groupOf(r.server.Name, variant)
	r.program.groups[id] = r.order(id, endpoints)
	for i, addr := range r.program.groups[id] {
		r.put(setEndpoints, string(id[:])+string(nativeIndex(i)), addressPort(addr))
	}
	r.placeEndpoints(endpoints)
	s := shape{endpoints: uint32(len(endpoints)), affinity: uint32(r.server.Affinity / time.Second)}
	return r.chain(&chain{family: r.family, id: id, shape: s})
}

// placeEndpoints tells masquerading where endpoints live.
func (r *renderer) placeEndpoints(endpoints []dataplane.Endpoint) {
	for _, ep := range endpoints {
		ip := string(ep.Addr.Addr().AsSlice())
		if ep.OnHost {
			r.put(setOnHost, ip, "")
			r.put(setHairpin, ip+ip, "")
		} else {
			r.put(setRemote, ip, "")
		}
	}
}

func (r *renderer) chain(c *chain) string {
	r.program.chains = append(r.program.chains, c)
	r.put(setShapes, string(c.id[:]), c.shape.bytes())
	return c.name()
}

// splitChain sends clients inside the cluster to every endpoint and those outside to local ones only.
func (r *renderer) splitChain(everyone, here string) string {
	if r.split == "" {
		s := shape{endpoints: outsiders, affinity: r.layout.podsHash()}
		if here != "" {
			s.endpoints++
		}
		r.split = r.chain(&chain{family: r.family, id: groupOf(r.server.Name, "split"), shape: s, outside: here, inside: everyone})
	}
	return r.split
}

func (r *renderer) frontend(fe dataplane.Frontend, everyone, here string) {
	target, unserved := everyone, valueGoto+chainReject
	if fe.Local && everyone != "" {
		unserved = valueDrop
		if target = here; fe.Kind != dataplane.ClusterIP {
			target = r.splitChain(everyone, here)
		}
	}
	served, refused, key := setServices, setUnserved, r.key(fe)
	if fe.Kind == dataplane.NodePort {
		served, refused = setNodePorts, setUnservedPorts
	}
	if target != "" {
		r.put(served, key, valueGoto+target)
	}
	if everyone == "" || fe.Local && here == "" {
		r.put(refused, key, unserved)
	}
}

// key encodes a frontend as the kernel sees it; every part of a concatenation fills whole registers.
func (r *renderer) key(fe dataplane.Frontend) string {
	tail := string([]byte{byte(r.server.Protocol), 0, 0, 0, byte(fe.Port >> 8), byte(fe.Port), 0, 0})
	if fe.Kind == dataplane.NodePort {
		return tail
	}
	return string(fe.Addr.AsSlice()) + tail
}

// addressPort encodes an endpoint as a map's value.
func addressPort(a netip.AddrPort) string {
	return string(a.Addr().AsSlice()) + string([]byte{byte(a.Port() >> 8), byte(a.Port()), 0, 0})
}

func parseAddressPort(value string) netip.AddrPort {
	n := len(value) - 4
	addr, _ := netip.AddrFromSlice([]byte(value[:n]))
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16([]byte(value[n:n+2])))
}
