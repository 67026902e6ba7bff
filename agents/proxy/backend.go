package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"karve.dev/karve/agents/proxy/dataplane"
	"karve.dev/karve/agents/proxy/dataplane/ipvs"
	"karve.dev/karve/agents/proxy/dataplane/nftables"
)

type options struct {
	id       dataplane.Identity
	networks dataplane.Networks
	log      *zap.Logger
}

// backend is a way to program the kernel.
type backend struct {
	name string
	// probe says why the backend cannot work here, in words that help.
	probe func(ctx context.Context) error
	open  func(ctx context.Context, o options) (dataplane.Dataplane, error)
	// clean removes an identity's traces; it does nothing where the kernel lacks the backend.
	clean func(ctx context.Context, id dataplane.Identity) error
}

// backends in the order in which automatic choice tries them: nftables first, because kernels are giving IPVS up.
var backends = []backend{
	{
		name:  "nftables",
		probe: nftables.Probe,
		open: func(ctx context.Context, o options) (dataplane.Dataplane, error) {
			// An earlier process may have used IPVS, whose services would go on answering.
			if err := ipvs.Retire(ctx, o.id); err != nil {
				return nil, fmt.Errorf("retire IPVS services: %w", err)
			}
			return nftables.New(ctx, nftables.Config{Identity: o.id, Networks: o.networks, Logger: o.log})
		},
		clean: nftables.Cleanup,
	},
	{
		name:  "ipvs",
		probe: ipvs.Probe,
		open: func(ctx context.Context, o options) (dataplane.Dataplane, error) {
			return ipvs.New(ctx, ipvs.Config{Identity: o.id, Networks: o.networks, Logger: o.log})
		},
		clean: ipvs.Cleanup,
	},
}

// probeTimeout bounds asking the kernel what it can do.
const probeTimeout = 10 * time.Second

func choose(name string) (backend, error) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	auto := name == "" || name == "auto"
	var names []string
	var errs []error
	for _, b := range backends {
		names = append(names, b.name)
		if !auto && b.name != name {
			continue
		}
		err := b.probe(ctx)
		if err == nil {
			return b, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", b.name, err))
	}
	if len(errs) == 0 {
		return backend{}, fmt.Errorf("no Service backend is called %q: choose auto or %s", name, strings.Join(names, " or "))
	}
	return backend{}, fmt.Errorf("Services cannot be balanced on this machine: %w", errors.Join(errs...))
}

// Cleanup removes everything that proxies of a cluster's node made in the kernel; with an empty node, of all the
// cluster's nodes on this host. No proxy of theirs may run.
// The table that remembers what IPVS has goes last.
func Cleanup(ctx context.Context, cluster, node string) error {
	var errs []error
	for _, b := range slices.Backward(backends) {
		if err := b.clean(ctx, dataplane.Identity{Cluster: cluster, Node: node}); err != nil {
			errs = append(errs, fmt.Errorf("remove the rules of %s: %w", b.name, err))
		}
	}
	return errors.Join(errs...)
}
