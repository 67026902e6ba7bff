package dns

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"karve.dev/karve/agents/proxy/dataplane"
)

// zone holds the cluster's names. One goroutine sets, any may ask.
type zone struct {
	domain  string // with the final dot, in lower case
	reverse []netip.Prefix

	mu         sync.RWMutex
	synced     bool
	services   map[dataplane.ServiceKey]*entry
	namespaces map[string]int                                 // how many Services each has
	addresses  map[netip.Addr]map[dataplane.ServiceKey]string // whose names, for reverse lookups
}

// entry is one Service.
type entry struct {
	external  string // ExternalName's target, with the final dot
	headless  bool
	addresses []netip.Addr // cluster IPs
	ports     []port       // of the Service
	endpoints []endpoint   // of a headless Service
}

type port struct {
	name, protocol string // in lower case; the name may be empty
	number         uint16
}

type endpoint struct {
	host  string // the endpoint's label below the Service's name
	addr  netip.Addr
	ports []port
}

func newZone(domain string, reverse []netip.Prefix) *zone {
	return &zone{
		domain: strings.ToLower(dns.Fqdn(domain)), reverse: reverse, services: map[dataplane.ServiceKey]*entry{},
		namespaces: map[string]int{}, addresses: map[netip.Addr]map[dataplane.ServiceKey]string{},
	}
}

// SetSynced tells that all Services have been set once.
func (z *zone) SetSynced() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.synced = true
}

// SetService sets a Service and all its slices; nil removes it.
func (z *zone) SetService(key dataplane.ServiceKey, svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice) {
	var e *entry
	if svc != nil {
		e = newEntry(svc, endpointSlices)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if old := z.services[key]; old != nil {
		z.forget(key, old)
	}
	if e == nil {
		return
	}
	z.services[key] = e
	z.namespaces[key.Namespace]++
	for addr, host := range e.named() {
		if z.addresses[addr] == nil {
			z.addresses[addr] = map[dataplane.ServiceKey]string{}
		}
		z.addresses[addr][key] = host
	}
}

func (z *zone) forget(key dataplane.ServiceKey, e *entry) {
	delete(z.services, key)
	if z.namespaces[key.Namespace]--; z.namespaces[key.Namespace] == 0 {
		delete(z.namespaces, key.Namespace)
	}
	for addr := range e.named() {
		delete(z.addresses[addr], key)
		if len(z.addresses[addr]) == 0 {
			delete(z.addresses, addr)
		}
	}
}

// named returns the addresses that a reverse lookup finds, with the label below the Service's name.
func (e *entry) named() map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for _, a := range e.addresses {
		out[a] = ""
	}
	for _, ep := range e.endpoints {
		out[ep.addr] = ep.host
	}
	return out
}

func newEntry(svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice) *entry {
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return &entry{external: strings.ToLower(dns.Fqdn(svc.Spec.ExternalName))}
	}
	e := &entry{headless: svc.Spec.ClusterIP == corev1.ClusterIPNone}
	for _, p := range svc.Spec.Ports {
		e.ports = append(e.ports, port{strings.ToLower(p.Name), protocol(p.Protocol), uint16(p.Port)})
	}
	if e.headless {
		e.endpoints = endpoints(endpointSlices)
		return e
	}
	texts := svc.Spec.ClusterIPs
	if len(texts) == 0 {
		texts = []string{svc.Spec.ClusterIP}
	}
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			e.addresses = append(e.addresses, a.Unmap())
		}
	}
	return e
}

func protocol(p corev1.Protocol) string {
	if p == "" {
		return "tcp"
	}
	return strings.ToLower(string(p))
}

// endpoints lists the ready endpoints, each address once.
func endpoints(endpointSlices []*discoveryv1.EndpointSlice) []endpoint {
	var out []endpoint
	for _, slice := range endpointSlices {
		var ports []port
		for _, p := range slice.Ports {
			if p.Port == nil {
				continue
			}
			named := port{number: uint16(*p.Port), protocol: "tcp"}
			if p.Name != nil {
				named.name = strings.ToLower(*p.Name)
			}
			if p.Protocol != nil {
				named.protocol = protocol(*p.Protocol)
			}
			ports = append(ports, named)
		}
		for _, ep := range slice.Endpoints {
			if ep.Conditions.Ready != nil && !*ep.Conditions.Ready || len(ep.Addresses) == 0 {
				continue
			}
			addr, err := netip.ParseAddr(ep.Addresses[0])
			if err != nil {
				continue
			}
			host := dashed(addr.Unmap())
			if ep.Hostname != nil && *ep.Hostname != "" {
				host = strings.ToLower(*ep.Hostname)
			}
			out = append(out, endpoint{host, addr.Unmap(), ports})
		}
	}
	slices.SortFunc(out, func(a, b endpoint) int { return a.addr.Compare(b.addr) })
	return slices.CompactFunc(out, func(a, b endpoint) bool { return a.addr == b.addr && a.host == b.host })
}

// dashed writes an address as a label: 10.0.0.1 as 10-0-0-1.
func dashed(a netip.Addr) string { return strings.NewReplacer(".", "-", ":", "-").Replace(a.String()) }

// undashed reads such a label.
func undashed(label string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ".")); err == nil {
		return a, true
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	return a, err == nil
}
