// Package nftables balances Services with nftables maps. Each cluster's node has one table. A new connection costs
// one lookup, address . protocol . port to a chain, whatever the number of Services; the chain counts on in even
// turns (numgen) over a map of its endpoints. A change of endpoints rewrites that one chain, a new Service adds a chain
// and map elements, each in an atomic transaction. Nothing but netlink is needed at run time.
package nftables

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	"go.uber.org/zap"

	"karve.dev/karve/agents/proxy/dataplane"
	"karve.dev/karve/agents/proxy/dataplane/conntrack"
	"karve.dev/karve/agents/proxy/dataplane/hostnet"
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
	host   *hostnet.Host
	table  *nftables.Table

	kernel   *kernel // nil: not read yet, or in doubt after an error
	swept    bool    // what an earlier process left is gone
	layout   layout
	programs map[string]*installed
	wanted   map[element]string
	uses     map[element]int
	chains   map[string]*chain  // what must exist
	names    map[element]string // of chains, by their elements among the shapes
	claims   *installed         // a helper's
	repaired time.Time          // when the host was last looked at
}

// installed is a server and its program.
type installed struct {
	server  dataplane.VirtualServer
	program *program
}

var _ dataplane.Dataplane = (*Dataplane)(nil)

// New prepares the host (forwarding, the cluster's interface) and returns a dataplane that adopts what an earlier
// process left.
func New(ctx context.Context, config Config) (*Dataplane, error) {
	d := &Dataplane{config: config, log: config.Logger, layout: layout{networks: config.Networks}}
	if d.log == nil {
		d.log = zap.NewNop()
	}
	d.table = &nftables.Table{Name: config.Identity.Table(), Family: nftables.TableFamilyINet}
	host, err := hostnet.Prepare(ctx, config.Identity, config.Networks, d.log)
	if err != nil {
		return nil, err
	}
	d.host, d.repaired = host, time.Now()
	d.forget()
	return d, nil
}

// Close implements dataplane.Dataplane.
func (d *Dataplane) Close() error { return nil }

// Cleanup removes the identity's table; with an empty Node, all tables of the cluster. What the cluster's nodes on
// this host share goes with the last of them.
func Cleanup(ctx context.Context, id dataplane.Identity) error {
	prefix := dataplane.ClusterTablePrefix(id.Cluster)
	left, err := deleteTables(ctx, prefix, func(name string) bool { return id.Node == "" || name == id.Table() })
	if err != nil || left > 0 {
		return err
	}
	return hostnet.Cleanup(ctx, id)
}

// forget drops what is believed about the kernel; the next Apply reads it anew.
func (d *Dataplane) forget() {
	d.kernel, d.swept, d.claims = nil, false, nil
	d.programs, d.wanted, d.uses = map[string]*installed{}, map[element]string{}, map[element]int{}
	d.chains, d.names = map[string]*chain{}, map[element]string{}
}

// Apply implements dataplane.Dataplane.
func (d *Dataplane) Apply(ctx context.Context, state dataplane.State) error {
	first := !d.swept
	if err := d.prepare(ctx, d.layoutFor(state)); err != nil {
		d.forget()
		return err
	}
	changes := d.changes(state)
	err := d.write(ctx, changes)
	if first && err == nil {
		err = d.sweep(ctx)
		d.swept = err == nil
	}
	flows := make([]conntrack.Change, 0, len(changes))
	for _, c := range changes {
		flows = append(flows, conntrack.Change{Before: c.before(), After: c.after, First: first})
	}
	if ctErr := conntrack.Settle(ctx, flows); ctErr != nil {
		d.log.Warn("flows to removed endpoints were not all ended", zap.Error(ctErr))
	}
	if err != nil && len(dataplane.ServerErrors(err)) == 0 {
		d.forget()
	}
	return err
}

const (
	checkEvery  = 5 * time.Second
	repairEvery = time.Minute
)

// Maintain implements dataplane.Dataplane: it notices when somebody else removed the table (a firewall that reloads
// flushes everything), and puts the host's settings back.
func (d *Dataplane) Maintain(ctx context.Context) (time.Duration, error) {
	if time.Since(d.repaired) >= repairEvery {
		d.repaired = time.Now()
		if err := d.host.Repair(ctx); err != nil {
			d.log.Warn("host network settings", zap.Error(err))
		}
	}
	if d.kernel == nil {
		return checkEvery, nil
	}
	conn, err := dial(ctx)
	if err != nil {
		return checkEvery, err
	}
	ok, err := tableExists(conn, d.table.Name)
	if err == nil && !ok {
		d.forget()
		return checkEvery, dataplane.ErrLost
	}
	return checkEvery, err
}

func (d *Dataplane) layoutFor(state dataplane.State) layout {
	return layout{
		networks: d.config.Networks, helper: d.layout.helper,
		localPods: slices.Clone(state.LocalPods), hostPods: slices.Clone(state.HostPods),
	}
}

// prepare reads the kernel where needed and brings the base chains up to date.
func (d *Dataplane) prepare(ctx context.Context, want layout) error {
	if d.kernel == nil {
		k, err := readKernel(ctx, d.table, d.layout.format())
		if err != nil {
			return fmt.Errorf("read table %s: %w", d.table.Name, err)
		}
		d.kernel = k
	}
	d.layout = want
	if d.kernel.usable && d.kernel.layout == want.mark() {
		return nil
	}
	w, err := newWriter(ctx, d.table, want)
	if err != nil {
		return err
	}
	if err := w.writeBase(d.kernel); err != nil {
		return fmt.Errorf("write table %s: %w", d.table.Name, err)
	}
	if !d.kernel.usable {
		d.kernel.elements, d.kernel.chains = map[element]string{}, map[string]bool{}
	}
	d.kernel.exists, d.kernel.usable, d.kernel.layout = true, true, want.mark()
	return nil
}

// change is one server that differs from what is installed; after is nil for one that goes.
type change struct {
	name  string
	old   *installed
	after *dataplane.VirtualServer
}

func (c change) before() *dataplane.VirtualServer {
	if c.old == nil {
		return nil
	}
	return &c.old.server
}

// changes compares state with what is installed. Servers that go come first: others may take their frontends over.
func (d *Dataplane) changes(state dataplane.State) []change {
	names := make(map[string]bool, len(state.Servers))
	var out []change
	for i := range state.Servers {
		v := &state.Servers[i]
		names[v.Name] = true
		old := d.programs[v.Name]
		if old == nil || !old.server.Equal(v) {
			out = append(out, change{v.Name, old, v})
		}
	}
	var gone []change
	for name, old := range d.programs {
		if !names[name] {
			gone = append(gone, change{name: name, old: old})
		}
	}
	return append(gone, out...)
}
