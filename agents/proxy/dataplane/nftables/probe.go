package nftables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"karve.dev/karve/agents/proxy/dataplane"
)

// Probe tells whether the kernel can do all that the backend asks of it, by writing a whole table and removing it in
// one transaction, which leaves no trace and no moment in which it acts. The error says what to do.
func Probe(ctx context.Context) error {
	prefix := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")}
	l := layout{networks: dataplane.Networks{Pods: prefix, Services: prefix, NodePorts: prefix}}
	table := &nftables.Table{Name: fmt.Sprintf("karve-probe-%d", unix.Getpid()), Family: nftables.TableFamilyINet}
	w, err := newWriter(ctx, table, l)
	if err != nil {
		return explain(err)
	}
	if err := w.queueBase(&kernel{}); err != nil {
		return explain(err)
	}
	for _, ipv6 := range []bool{false, true} {
		if err := w.queueSample(ipv6); err != nil {
			return explain(err)
		}
	}
	w.conn.DelTable(table)
	return explain(w.conn.Flush())
}

func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("not allowed to change firewall rules: run as root, or with CAP_NET_ADMIN (%w)", err)
	}
	return fmt.Errorf("the kernel lacks what is needed: load nf_tables, nft_chain_nat, nft_numgen, nft_fib_inet, nft_reject_inet and nft_masq (`modprobe -a …`), or use a kernel from 5.10 (%w)", err)
}

// queueSample writes the chains of a server that uses everything.
func (w *writer) queueSample(ipv6 bool) error {
	endpoint := dataplane.Endpoint{Addr: netip.MustParseAddrPort("192.0.2.1:80")}
	if ipv6 {
		endpoint.Addr = netip.MustParseAddrPort("[2001:db8::1]:80")
	}
	p := render(w.layout, &dataplane.VirtualServer{
		Name: "probe", Protocol: dataplane.TCP, IPv6: ipv6, Affinity: time.Hour,
		Frontends: []dataplane.Frontend{{Kind: dataplane.NodePort, Port: 1, Local: true}},
		Endpoints: []dataplane.Endpoint{endpoint}, LocalEndpoints: []dataplane.Endpoint{endpoint},
	})
	d := newDifference()
	d.add, d.write = p.elements, p.chains
	return w.queue(d, nil)
}
