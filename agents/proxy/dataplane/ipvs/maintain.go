package ipvs

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"karve.dev/karve/agents/proxy/dataplane"
	"karve.dev/karve/agents/proxy/dataplane/hostnet"
	"karve.dev/karve/agents/proxy/dataplane/nftables"
)

const (
	drainEvery = 2 * time.Second
	checkEvery = 30 * time.Second
)

// Maintain implements dataplane.Dataplane: it removes what has drained, and notices when addresses of the host have
// changed or others have removed services.
func (d *Dataplane) Maintain(ctx context.Context) (time.Duration, error) {
	if !d.loaded {
		return checkEvery, nil
	}
	drained, left, err := d.drain(ctx)
	if err != nil {
		return drainEvery, err
	}
	if drained {
		if err := d.Apply(ctx, d.state); err != nil {
			return drainEvery, err
		}
	}
	again, err := d.helper.Maintain(ctx)
	if err == nil && time.Since(d.checked) >= checkEvery {
		d.checked = time.Now()
		err = d.check(ctx)
	}
	if errors.Is(err, dataplane.ErrLost) {
		d.loaded = false
	}
	if left {
		again = drainEvery
	}
	return again, err
}

// drain removes destinations of weight 0 that have no connections left. It tells whether it removed any and whether
// others are still draining.
func (d *Dataplane) drain(ctx context.Context) (removed, left bool, err error) {
	for _, k := range sorted(d.have) {
		if !slices.Contains(slices.Collect(maps.Values(d.have[k].destinations)), 0) {
			continue
		}
		found, err := d.handle.destinations(ctx, k)
		if err != nil {
			return removed, left, err
		}
		for _, dst := range found {
			if weight, known := d.have[k].destinations[dst.addr]; !known || weight != 0 {
				continue
			}
			if dst.connections > 0 {
				left = true
				continue
			}
			s := step{verb: removeDestination, key: k, destination: dst.addr}
			if err := d.handle.carryOut(ctx, s); err != nil {
				return removed, left, err
			}
			carry(d.have, s)
			removed = true
		}
	}
	return removed, left, nil
}

// check compares the kernel with what this process wrote.
func (d *Dataplane) check(ctx context.Context) error {
	hosts, err := hostAddresses(d.config.Networks.NodePorts)
	if err != nil {
		return err
	}
	if !slices.Equal(hosts, d.hosts) {
		d.log.Info("the host's addresses changed, node ports follow", zap.Stringers("addresses", hosts))
		if err := d.Apply(ctx, d.state); err != nil {
			return err
		}
	}
	found, err := d.handle.list(ctx, func(k key) bool { return d.have[k] != nil })
	if err != nil {
		return err
	}
	if len(found) != len(d.have) {
		return dataplane.ErrLost
	}
	return nil
}

// Cleanup removes an identity's services, addresses and table; with an empty Node, those of all the cluster's nodes.
// What another node on this host still wants stays.
func Cleanup(ctx context.Context, id dataplane.Identity) error {
	if err := Retire(ctx, id); err != nil {
		return err
	}
	return nftables.Cleanup(ctx, id)
}

// Retire removes an identity's services and addresses from IPVS and leaves the table.
func Retire(ctx context.Context, id dataplane.Identity) error {
	own, foreign, err := nftables.ClaimsOf(ctx, id)
	if err != nil || len(own) == 0 {
		return err
	}
	var h handle
	var errs []error
	for k := range own {
		if _, shared := foreign[k]; !shared && available() {
			errs = append(errs, h.carryOut(ctx, step{verb: removeService, key: k}))
		}
	}
	link, err := hostnet.Interface(id)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	have, err := ownedAddresses(link)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for k, sameCluster := range foreign {
		if sameCluster {
			delete(have, k.Addr)
		}
	}
	for k := range own {
		if have[k.Addr] {
			delete(have, k.Addr)
			errs = append(errs, removeAddress(link, k.Addr))
		}
	}
	return errors.Join(errs...)
}
