package nftables

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

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

// chain serves connections: those of a server, of one of its endpoints, or of those frontends of it that tell clients
// outside the cluster from those inside.
type chain struct {
	family *family
	id     groupID
	body   body
	server string // for people who read the rules
}

func (c *chain) name() string {
	if _, one := c.body.(stuck); one {
		return endpointChain(c.family, c.id)
	}
	return chainPrefix + c.family.suffix + "-" + hex.EncodeToString(c.id[:])
}

// shape is the element that stands for the chain's rules.
func (c *chain) shape() element { return element{setShapes + c.family.suffix, string(c.id[:])} }

// Chains of Services and of single endpoints. An endpoint's chain comes and goes with a set of the clients that stick
// to it.
const (
	chainPrefix    = "svc"
	endpointPrefix = "ep"
	clientsPrefix  = "clients-"
)

func endpointChain(f *family, id groupID) string {
	return endpointPrefix + f.suffix + "-" + hex.EncodeToString(id[:])
}

// program is what one virtual server needs in the kernel.
type program struct {
	elements map[element]string
	chains   []*chain
}

// render translates a virtual server.
func render(l layout, v *dataplane.VirtualServer) *program {
	r := renderer{layout: l, server: v, family: familyOf(v.IPv6), stuck: map[groupID]bool{}, program: &program{elements: map[element]string{}}}
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
	program *program
	split   string // the chain that tells outside from inside, once made
	stuck   map[groupID]bool
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

// group makes the chain of endpoints that take turns and returns its name, "" when there are none.
func (r *renderer) group(variant string, endpoints []dataplane.Endpoint) string {
	if len(endpoints) == 0 {
		return ""
	}
	r.placeEndpoints(endpoints)
	if r.server.Affinity == 0 {
		return r.chain(variant, turns{r.server.Protocol, endpoints})
	}
	body := sticky{}
	for _, ep := range endpoints {
		id := groupOf(r.server.Name, ep.Addr.String())
		body = append(body, id)
		if !r.stuck[id] {
			r.stuck[id] = true
			r.chain(ep.Addr.String(), stuck{r.server.Protocol, ep.Addr, r.server.Affinity})
		}
	}
	return r.chain(variant, body)
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

// chain adds a chain of the server.
func (r *renderer) chain(variant string, b body) string {
	c := &chain{family: r.family, id: groupOf(r.server.Name, variant), body: b, server: r.server.Name}
	r.program.chains = append(r.program.chains, c)
	r.program.elements[c.shape()] = digest(b)
	return c.name()
}

// splitChain sends clients inside the cluster to every endpoint and those outside to local ones only.
func (r *renderer) splitChain(everyone, here string) string {
	if r.split == "" {
		r.split = r.chain("split", split{inside: everyone, outside: here, pods: r.layout.networks.Pods})
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
