// Package ipvs balances Services with the kernel's IPVS. Cluster IPs are addresses of an interface of their own, so
// that packets to them reach IPVS; a small nftables table beside it refuses what nobody serves, masquerades where
// answers would get lost, and serves node ports on loopback addresses.
package ipvs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"karve.dev/karve/agents/proxy/dataplane"
	"karve.dev/karve/agents/proxy/dataplane/hostnet"
	"karve.dev/karve/agents/proxy/dataplane/nftables"
)

// Config is what a Dataplane needs.
type Config struct {
	Identity dataplane.Identity
	Networks dataplane.Networks
	Logger   *zap.Logger
}

// Dataplane implements dataplane.Dataplane.
type Dataplane struct {
	config Config
	log    *zap.Logger
	helper *nftables.Helper
	handle handle

	loaded bool
	have   map[key]*virtual // this node's services as the kernel has them
	claims map[key]bool
	// addresses are those on the cluster's interface.
	addresses map[netip.Addr]bool
	state     dataplane.State // the newest
	hosts     []netip.Addr    // on which node ports answer
	checked   time.Time       // when the kernel was last compared with have
}

var _ dataplane.Dataplane = (*Dataplane)(nil)

// New prepares the host and returns a dataplane that adopts what an earlier process left.
func New(ctx context.Context, config Config) (*Dataplane, error) {
	d := &Dataplane{config: config, log: config.Logger}
	if d.log == nil {
		d.log = zap.NewNop()
	}
	helper, err := nftables.NewHelper(ctx, nftables.Config{Identity: config.Identity, Networks: config.Networks, Logger: d.log})
	if err != nil {
		return nil, err
	}
	d.helper = helper
	if _, err := d.handle.open(ctx); err != nil {
		return nil, fmt.Errorf("open IPVS: %w", err)
	}
	if err := setSysctls(); err != nil {
		d.log.Warn("IPVS settings", zap.Error(err))
	}
	return d, nil
}

// Close implements dataplane.Dataplane.
func (d *Dataplane) Close() error { return d.helper.Close() }

// Apply implements dataplane.Dataplane.
func (d *Dataplane) Apply(ctx context.Context, state dataplane.State) error {
	d.state = state
	hosts, err := hostAddresses(d.config.Networks.NodePorts)
	if err != nil {
		return err
	}
	d.hosts = hosts
	want := wanted(state.Servers, hosts)
	if err := d.load(ctx, want); err != nil {
		return err
	}
	steps := plan(d.have, want)
	if err := d.announce(ctx, want, steps); err != nil {
		return err
	}
	errs := []error{d.addAddresses(want), d.carryOut(ctx, want, steps)}
	// The table comes after IPVS: it lets new frontends through, and ends flows to destinations that are gone.
	errs = append(errs, d.helper.Apply(ctx, dataplane.State{Servers: append(d.draining(want), state.Servers...), LocalPods: state.LocalPods, HostPods: state.HostPods}))
	errs = append(errs, d.letGo(ctx, want))
	if err := errors.Join(errs...); err != nil {
		if len(dataplane.ServerErrors(err)) == 0 {
			d.loaded = false
		}
		return err
	}
	return nil
}

// load reads what the kernel has of this node's: what is claimed by an earlier process, or wanted.
func (d *Dataplane) load(ctx context.Context, want map[key]*virtual) error {
	if d.loaded {
		return nil
	}
	claims, err := d.helper.Claims(ctx)
	if err != nil {
		return err
	}
	if err := d.helper.SetClaims(ctx, claims, nil); err != nil {
		return err
	}
	d.claims = claims
	link, err := hostnet.Interface(d.config.Identity)
	if err != nil {
		return err
	}
	if d.addresses, err = ownedAddresses(link); err != nil {
		return err
	}
	d.have, err = d.handle.read(ctx, func(k key) bool { return claims[k] || want[k] != nil })
	d.loaded = err == nil
	return err
}

// announce has the table know what is about to be made: services, so that they are found again whatever happens, and
// endpoints, so that their first connection is masqueraded where it must be.
func (d *Dataplane) announce(ctx context.Context, want map[key]*virtual, steps []step) error {
	all := maps.Clone(d.claims)
	var coming []dataplane.Endpoint
	for _, s := range steps {
		v := want[s.key]
		if v == nil {
			continue
		}
		all[s.key] = true
		for _, ep := range v.server.Endpoints {
			if ep.Addr == s.destination {
				coming = append(coming, ep)
			}
		}
	}
	if len(coming) == 0 && len(all) == len(d.claims) {
		return nil
	}
	d.claims = all
	return d.helper.SetClaims(ctx, all, coming)
}

// letGo forgets what is gone, and removes addresses that no service needs any more.
func (d *Dataplane) letGo(ctx context.Context, want map[key]*virtual) error {
	still := map[key]bool{}
	for k := range d.have {
		still[k] = true
	}
	for k := range want {
		still[k] = true
	}
	if maps.Equal(still, d.claims) {
		return nil
	}
	if err := d.removeAddresses(ctx, still); err != nil {
		return err
	}
	d.claims = still
	return d.helper.SetClaims(ctx, still, nil)
}

// carryOut performs the plan. A step that fails is the failure of the server that it was for.
func (d *Dataplane) carryOut(ctx context.Context, want map[key]*virtual, steps []step) error {
	var foreign map[key]bool
	var errs []error
	for _, s := range steps {
		if want[s.key] == nil {
			// Another node on this host may still want what this one does not.
			if foreign == nil {
				var err error
				if foreign, err = nftables.ForeignClaims(ctx, d.config.Identity); err != nil {
					return err
				}
			}
			if _, shared := foreign[s.key]; shared {
				delete(d.have, s.key)
				continue
			}
		}
		if err := d.handle.carryOut(ctx, s); err != nil {
			if ctx.Err() != nil {
				return err
			}
			errs = append(errs, stepError(want[s.key], s, err))
			continue
		}
		carry(d.have, s)
	}
	return errors.Join(errs...)
}

func stepError(v *virtual, s step, err error) error {
	err = fmt.Errorf("IPVS %s %s port %d: %w", s.key.Protocol, s.key.Addr, s.key.Port, err)
	if v == nil || v.server == nil {
		return err
	}
	return &dataplane.ServerError{Server: v.server.Name, Service: v.server.Service, Err: err}
}

// draining stands for services that only finish their connections: the table refuses new ones.
func (d *Dataplane) draining(want map[key]*virtual) []dataplane.VirtualServer {
	inUse := map[key]bool{}
	for _, v := range d.state.Servers {
		for _, fe := range v.Frontends {
			inUse[key{Addr: fe.Addr, Protocol: v.Protocol, Port: fe.Port}] = true
		}
	}
	var out []dataplane.VirtualServer
	for k := range d.have {
		if want[k] != nil || inUse[k] || d.isHost(k.Addr) {
			continue
		}
		out = append(out, dataplane.VirtualServer{
			Name: fmt.Sprintf("draining/%s:%d/%s", k.Addr, k.Port, k.Protocol), Protocol: k.Protocol, IPv6: k.Addr.Is6(),
			Frontends: []dataplane.Frontend{{Kind: dataplane.External, Addr: k.Addr, Port: k.Port}},
		})
	}
	return out
}

func (d *Dataplane) isHost(a netip.Addr) bool {
	for _, h := range d.hosts {
		if h == a {
			return true
		}
	}
	return false
}

// addAddresses puts the addresses of wanted services on the cluster's interface.
func (d *Dataplane) addAddresses(want map[key]*virtual) error {
	var missing []netip.Addr
	for k := range want {
		if !d.addresses[k.Addr] && !d.isHost(k.Addr) {
			missing = append(missing, k.Addr)
			d.addresses[k.Addr] = true
		}
	}
	if len(missing) == 0 {
		return nil
	}
	link, err := hostnet.Interface(d.config.Identity)
	if err != nil {
		return err
	}
	for _, a := range missing {
		if err := addAddress(link, a); err != nil {
			return err
		}
	}
	return nil
}

// removeAddresses takes away those that this node claimed, and on which neither it nor another node of the cluster on
// this host has services any more. The node's DNS may have its address on the interface too.
func (d *Dataplane) removeAddresses(ctx context.Context, still map[key]bool) error {
	needed := map[netip.Addr]bool{}
	for k := range still {
		needed[k.Addr] = true
	}
	unused := map[netip.Addr]bool{}
	for k := range d.claims {
		if d.addresses[k.Addr] && !needed[k.Addr] {
			unused[k.Addr] = true
		}
	}
	if len(unused) == 0 {
		return nil
	}
	foreign, err := nftables.ForeignClaims(ctx, d.config.Identity)
	if err != nil {
		return err
	}
	for k, sameCluster := range foreign {
		if sameCluster {
			delete(unused, k.Addr)
		}
	}
	link, err := hostnet.Interface(d.config.Identity)
	if err != nil {
		return err
	}
	for a := range unused {
		delete(d.addresses, a)
		if err := removeAddress(link, a); err != nil {
			return err
		}
	}
	return nil
}
