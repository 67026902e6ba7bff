package proxy

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"karve.dev/karve/agents/proxy/dataplane"
	"karve.dev/karve/agents/proxy/dns"
	"karve.dev/karve/internal/clusterdns"
)

// DNSConfig makes the node answer the cluster's DNS.
type DNSConfig struct {
	// Domain is the cluster's, "cluster.local" by default.
	Domain string
	// ClusterIP is the address that pods ask. A Service that has it goes first when it has endpoints of its own: a CoreDNS
	// that somebody installed.
	ClusterIP netip.Addr
	// Listen are the node's own addresses for it; by default port 53 of the first address of each of the node's pod
	// ranges, which is its bridge's.
	Listen []netip.AddrPort
	// Resolvers is the file that names resolvers for everything else, /etc/resolv.conf by default.
	Resolvers string
}

// nodeDNS runs the node's DNS server on the addresses that the node turns out to have.
type nodeDNS struct {
	config  *DNSConfig
	server  *dns.Server
	log     *zap.Logger
	listen  chan []netip.AddrPort // holds the newest, at most one
	current []netip.AddrPort      // belongs to the proxy's loop
}

func newNodeDNS(c Config) (*nodeDNS, error) {
	server, err := dns.New(dns.Config{
		Domain: c.DNS.Domain, Resolvers: c.DNS.Resolvers, Reverse: slices.Concat(c.ClusterCIDRs, c.ServiceCIDRs),
		NotUpstream: []netip.Addr{c.DNS.ClusterIP}, Logger: c.Logger, Metrics: c.Metrics,
	})
	if err != nil {
		return nil, err
	}
	return &nodeDNS{config: c.DNS, server: server, log: c.Logger, listen: make(chan []netip.AddrPort, 1)}, nil
}

// place tells where the node's pods have their addresses from, and so where to listen.
func (d *nodeDNS) place(localPods []netip.Prefix) {
	want := d.config.Listen
	if len(want) == 0 {
		for _, p := range localPods {
			want = append(want, netip.AddrPortFrom(clusterdns.ServerOf(p), clusterdns.Port))
		}
	}
	if len(want) == 0 || slices.Equal(want, d.current) {
		return
	}
	d.current = want
	select {
	case <-d.listen:
	default:
	}
	d.listen <- want
}

// servers lead the cluster's DNS address to this node's server.
func (d *nodeDNS) servers() []dataplane.VirtualServer {
	var out []dataplane.VirtualServer
	for _, protocol := range []dataplane.Protocol{dataplane.UDP, dataplane.TCP} {
		for _, listen := range d.current {
			if listen.Addr().Is6() != d.config.ClusterIP.Is6() || !d.config.ClusterIP.IsValid() {
				continue
			}
			out = append(out, dataplane.VirtualServer{
				// "~" sorts behind every Service: one with this address and with endpoints wins.
				Name: "~dns/" + protocol.String(), Protocol: protocol, IPv6: listen.Addr().Is6(),
				Frontends: []dataplane.Frontend{{Kind: dataplane.ClusterIP, Addr: d.config.ClusterIP, Port: clusterdns.Port}},
				Endpoints: []dataplane.Endpoint{{Addr: listen, OnHost: true}},
			})
			break
		}
	}
	return out
}

// without drops the servers that have no endpoints where the node's own answer, so that the Service kube-dns is one like all.
func without(servers, own []dataplane.VirtualServer) []dataplane.VirtualServer {
	answered := func(v dataplane.VirtualServer) bool {
		return len(v.Endpoints) == 0 && slices.ContainsFunc(own, func(o dataplane.VirtualServer) bool {
			return o.Protocol == v.Protocol && slices.ContainsFunc(v.Frontends, func(f dataplane.Frontend) bool {
				return f.Addr == o.Frontends[0].Addr && f.Port == o.Frontends[0].Port
			})
		})
	}
	if !slices.ContainsFunc(servers, answered) {
		return servers
	}
	return slices.DeleteFunc(slices.Clone(servers), answered)
}

// run serves until ctx ends, moving when the addresses change and trying again when they cannot be had.
func (d *nodeDNS) run(ctx context.Context) {
	var addresses []netip.AddrPort
	for backoff := minRetry; ctx.Err() == nil; {
		serving, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		if addresses != nil {
			go func() { done <- d.server.Serve(serving, addresses) }()
		}
		select {
		case <-ctx.Done():
		case next := <-d.listen:
			cancel()
			if addresses != nil {
				<-done
			}
			addresses, backoff = next, minRetry
			continue
		case err := <-done:
			cancel()
			d.log.Error("cluster DNS, trying again", zap.Error(err), zap.Duration("after", backoff))
			select {
			case <-time.After(backoff/2 + rand.N(backoff)):
			case <-ctx.Done():
			}
			backoff = min(2*backoff, maxRetry)
			continue
		}
		cancel()
		if addresses != nil {
			<-done
		}
	}
}
