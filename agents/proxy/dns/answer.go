package dns

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"karve.dev/karve/agents/proxy/dataplane"
)

// ttl of the cluster's records, in seconds: short, since Services come and go.
const ttl = 5

// specVersion is the version of the Kubernetes DNS specification that is served.
const specVersion = "1.1.0"

// answer is what the zone says to a question.
type answer struct {
	rcode                     int
	records, extra, authority []dns.RR
	alias                     string // a CNAME's target, which is to be followed
}

// answer looks a question up. It tells whether the name is the cluster's; if so, a name or type that does not exist
// is answered as such, with the SOA record that lets clients remember it.
func (z *zone) answer(q dns.Question) (answer, bool) {
	name := strings.ToLower(dns.Fqdn(q.Name))
	z.mu.RLock()
	defer z.mu.RUnlock()
	if q.Qtype == dns.TypePTR {
		if a, ours := z.pointer(q.Name, name); ours {
			return z.complete(a), true
		}
	}
	if name != z.domain && !strings.HasSuffix(name, "."+z.domain) {
		return answer{}, false
	}
	if !z.synced {
		return answer{rcode: dns.RcodeServerFailure}, true
	}
	var labels []string
	if name != z.domain {
		labels = strings.Split(strings.TrimSuffix(name, "."+z.domain), ".")
	}
	l := lookup{zone: z, question: q}
	return z.complete(l.find(labels)), true
}

// complete adds the SOA record to an answer without records.
func (z *zone) complete(a answer) answer {
	if len(a.records) == 0 && a.rcode != dns.RcodeServerFailure {
		a.authority = []dns.RR{z.soa()}
	}
	return a
}

func (z *zone) soa() dns.RR {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: z.domain, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  "ns.dns." + z.domain, Mbox: "hostmaster." + z.domain, Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl,
	}
}

var missing = answer{rcode: dns.RcodeNameError}

// lookup answers one question from the zone.
type lookup struct {
	zone     *zone
	question dns.Question
}

func (l *lookup) header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

func (l *lookup) asks(kind uint16) bool {
	return l.question.Qtype == kind || l.question.Qtype == dns.TypeANY
}

// find walks the zone: labels are those before the domain, the last one first in its hierarchy.
func (l *lookup) find(labels []string) answer {
	if len(labels) == 0 {
		if l.asks(dns.TypeSOA) {
			return answer{records: []dns.RR{l.zone.soa()}}
		}
		return answer{}
	}
	branch, rest := labels[len(labels)-1], labels[:len(labels)-1]
	switch branch {
	case "svc":
		return l.services(rest)
	case "pod":
		return l.pod(rest)
	case "dns-version":
		if len(rest) == 0 && l.asks(dns.TypeTXT) {
			return answer{records: []dns.RR{&dns.TXT{Hdr: l.header(l.question.Name, dns.TypeTXT), Txt: []string{specVersion}}}}
		}
	}
	return missing
}

func (l *lookup) services(labels []string) answer {
	n := len(labels)
	switch {
	case n == 0:
		return answer{}
	case n == 1 && l.zone.namespaces[labels[0]] > 0:
		return answer{}
	case n == 1:
		return missing
	}
	key := dataplane.ServiceKey{Namespace: labels[n-1], Name: labels[n-2]}
	e := l.zone.services[key]
	if e == nil {
		return missing
	}
	below := labels[:n-2]
	switch {
	case len(below) == 0:
		return l.service(key, e)
	case len(below) == 1 && !strings.HasPrefix(below[0], "_"):
		return l.endpoint(e, below[0])
	case len(below) == 2 && strings.HasPrefix(below[0], "_") && strings.HasPrefix(below[1], "_"):
		return l.ports(key, e, below[0][1:], below[1][1:])
	}
	return missing
}

func (l *lookup) service(key dataplane.ServiceKey, e *entry) answer {
	if e.external != "" {
		return answer{alias: e.external, records: []dns.RR{&dns.CNAME{Hdr: l.header(l.question.Name, dns.TypeCNAME), Target: e.external}}}
	}
	if l.question.Qtype == dns.TypeSRV {
		return l.ports(key, e, "", "")
	}
	addresses := slices.Clone(e.addresses)
	for _, ep := range e.endpoints {
		addresses = append(addresses, ep.addr)
	}
	return answer{records: l.hosts(l.question.Name, addresses)}
}

// hosts makes the address records that the question asks for, in any order, so that clients spread.
func (l *lookup) hosts(name string, addresses []netip.Addr) []dns.RR {
	var out []dns.RR
	for _, a := range addresses {
		if rr := l.host(name, a); rr != nil && l.asks(rr.Header().Rrtype) {
			out = append(out, rr)
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func (l *lookup) host(name string, a netip.Addr) dns.RR {
	if a.Is4() {
		return &dns.A{Hdr: l.header(name, dns.TypeA), A: net.IP(a.AsSlice())}
	}
	return &dns.AAAA{Hdr: l.header(name, dns.TypeAAAA), AAAA: net.IP(a.AsSlice())}
}

func (l *lookup) endpoint(e *entry, host string) answer {
	var addresses []netip.Addr
	for _, ep := range e.endpoints {
		if ep.host == host {
			addresses = append(addresses, ep.addr)
		}
	}
	if len(addresses) == 0 {
		return missing
	}
	return answer{records: l.hosts(l.question.Name, addresses)}
}

// ports answers SRV questions: of one named port, or of all when name is empty.
func (l *lookup) ports(key dataplane.ServiceKey, e *entry, name, protocol string) answer {
	wanted := func(p port) bool {
		if name == "" {
			return p.name != ""
		}
		return p.name == name && p.protocol == protocol
	}
	full := key.Name + "." + key.Namespace + ".svc." + l.zone.domain
	var out answer
	found := false
	add := func(p port, target string, addresses []netip.Addr) {
		found = true
		if !l.asks(dns.TypeSRV) {
			return
		}
		out.records = append(out.records, &dns.SRV{Hdr: l.header(l.question.Name, dns.TypeSRV), Weight: 100, Port: p.number, Target: target})
		for _, a := range addresses {
			out.extra = append(out.extra, l.host(target, a))
		}
	}
	if e.headless {
		for _, ep := range e.endpoints {
			for _, p := range ep.ports {
				if wanted(p) {
					add(p, ep.host+"."+full, []netip.Addr{ep.addr})
				}
			}
		}
	} else {
		for _, p := range e.ports {
			if wanted(p) {
				add(p, full, e.addresses)
			}
		}
	}
	if !found && name != "" {
		return missing
	}
	return out
}

// pod answers a-b-c-d.namespace.pod, which says itself what its address is.
func (l *lookup) pod(labels []string) answer {
	if len(labels) < 2 {
		return answer{}
	}
	if addr, ok := undashed(labels[0]); ok && len(labels) == 2 {
		return answer{records: l.hosts(l.question.Name, []netip.Addr{addr})}
	}
	return missing
}

// pointer answers reverse lookups of the cluster's addresses.
func (z *zone) pointer(asked, name string) (answer, bool) {
	addr, ok := reverseAddress(name)
	if !ok {
		return answer{}, false
	}
	owners := z.addresses[addr]
	ours := len(owners) > 0
	for _, p := range z.reverse {
		ours = ours || p.Contains(addr)
	}
	if !ours {
		return answer{}, false
	}
	if !z.synced {
		return answer{rcode: dns.RcodeServerFailure}, true
	}
	var out answer
	for key, host := range owners {
		target := key.Name + "." + key.Namespace + ".svc." + z.domain
		if host != "" {
			target = host + "." + target
		}
		out.records = append(out.records, &dns.PTR{Hdr: dns.RR_Header{Name: asked, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: ttl}, Ptr: target})
	}
	if len(out.records) == 0 {
		return missing, true
	}
	return out, true
}

// reverseAddress reads 4.3.2.1.in-addr.arpa. and its IPv6 sibling.
func reverseAddress(name string) (netip.Addr, bool) {
	if head, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		parts := strings.Split(head, ".")
		slices.Reverse(parts)
		a, err := netip.ParseAddr(strings.Join(parts, "."))
		return a, err == nil && a.Is4()
	}
	head, ok := strings.CutSuffix(name, ".ip6.arpa.")
	nibbles := strings.Split(head, ".")
	if !ok || len(nibbles) != 32 {
		return netip.Addr{}, false
	}
	slices.Reverse(nibbles)
	var text strings.Builder
	for i, nibble := range nibbles {
		if i > 0 && i%4 == 0 {
			text.WriteByte(':')
		}
		text.WriteString(nibble)
	}
	a, err := netip.ParseAddr(text.String())
	return a, err == nil
}
