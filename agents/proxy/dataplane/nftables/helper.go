package nftables

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"

	"karve.dev/karve/agents/proxy/dataplane"
)

// Helper is a table beside another balancer (IPVS): it refuses what nobody serves, masquerades, serves node ports on
// loopback addresses, ends stale flows, and remembers what its owner has made in the kernel. Apply takes the same
// state as the balancer.
type Helper struct{ *Dataplane }

// NewHelper is New for a helper.
func NewHelper(ctx context.Context, config Config) (*Helper, error) {
	d, err := New(ctx, config)
	if err != nil {
		return nil, err
	}
	d.layout.helper = true
	return &Helper{d}, nil
}

// Claim is a frontend that a balancer has in the kernel.
type Claim struct {
	Addr     netip.Addr
	Protocol dataplane.Protocol
	Port     uint16
}

func (c Claim) element() element {
	f := familyOf(c.Addr.Is6())
	return element{setClaims + f.suffix, string(c.Addr.AsSlice()) + string([]byte{byte(c.Protocol), 0, 0, 0, byte(c.Port >> 8), byte(c.Port), 0, 0})}
}

func parseClaim(key string) (Claim, bool) {
	n := len(key) - 8
	addr, ok := netip.AddrFromSlice([]byte(key[:max(n, 0)]))
	if !ok {
		return Claim{}, false
	}
	return Claim{addr, dataplane.Protocol(key[n]), uint16(key[n+4])<<8 | uint16(key[n+5])}, true
}

// Claims returns what this table remembers, also of an earlier process.
func (h *Helper) Claims(ctx context.Context) (map[Claim]bool, error) {
	if err := h.prepare(ctx, h.layout); err != nil {
		h.forget()
		return nil, err
	}
	out := map[Claim]bool{}
	for e := range h.kernel.elements {
		if !strings.HasPrefix(e.set, setClaims) {
			continue
		}
		if c, ok := parseClaim(e.key); ok {
			out[c] = true
		}
	}
	return out, nil
}

// SetClaims makes the table remember exactly these claims, and know the endpoints that the balancer is about to send
// to, so that their first connection is masqueraded right. A balancer calls it before it makes something, and lets go
// of what it has removed afterwards, in a call without endpoints.
func (h *Helper) SetClaims(ctx context.Context, claims map[Claim]bool, coming []dataplane.Endpoint) error {
	if err := h.prepare(ctx, h.layout); err != nil {
		h.forget()
		return err
	}
	p := &program{elements: map[element]string{}}
	for c := range claims {
		p.elements[c.element()] = ""
	}
	for _, ipv6 := range []bool{false, true} {
		r := renderer{family: familyOf(ipv6), program: p}
		for _, ep := range coming {
			if ep.Addr.Addr().Is6() == ipv6 {
				r.placeEndpoints([]dataplane.Endpoint{ep})
			}
		}
	}
	touched := map[element]bool{}
	h.replace(h.claims, p, touched)
	h.claims = &installed{program: p}
	if err := h.commit(ctx, touched); err != nil {
		h.forget()
		return fmt.Errorf("remember frontends: %w", err)
	}
	return nil
}

// ForeignClaims returns what tables of other Karve nodes in this network namespace remember; the value tells whether
// one of the same cluster does.
func ForeignClaims(ctx context.Context, own dataplane.Identity) (map[Claim]bool, error) {
	_, foreign, err := ClaimsOf(ctx, own)
	return foreign, err
}

// ClaimsOf returns what the identity's table remembers (with an empty Node, all tables of the cluster) and what all
// others do.
func ClaimsOf(ctx context.Context, id dataplane.Identity) (own map[Claim]bool, foreign map[Claim]bool, err error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, nil, fmt.Errorf("list tables: %w", err)
	}
	own, foreign = map[Claim]bool{}, map[Claim]bool{}
	for _, t := range tables {
		if !strings.HasPrefix(t.Name, "karve-") {
			continue
		}
		sameCluster := strings.HasPrefix(t.Name, dataplane.ClusterTablePrefix(id.Cluster))
		for _, c := range readClaims(conn, t) {
			if t.Name == id.Table() || id.Node == "" && sameCluster {
				own[c] = true
			} else {
				foreign[c] = foreign[c] || sameCluster
			}
		}
	}
	return own, foreign, nil
}

func readClaims(conn *nftables.Conn, table *nftables.Table) []Claim {
	var out []Claim
	for _, f := range families {
		elements, err := conn.GetSetElements(&nftables.Set{Table: table, Name: setClaims + f.suffix})
		if err != nil {
			continue // going just now, or of an older release
		}
		for _, e := range elements {
			if c, ok := parseClaim(string(e.Key)); ok {
				out = append(out, c)
			}
		}
	}
	return out
}
