package node

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"karve.dev/karve/agents/node/checkpoint"
	"karve.dev/karve/agents/node/loglink"
	"karve.dev/karve/agents/node/network"
	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/volume"
)

// removers bounds the parallel removals of Cleanup.
const removers = 4

// Cleanup removes everything that a node's agent has made: containers, mounts and files of pods, bridge, interfaces
// and rules. The agent must not be running. What is not there is no error, so it may be repeated.
func Cleanup(ctx context.Context, rt runtime.Runtime, cluster, node, dataDir string) error {
	owner := runtime.Owner{Cluster: cluster, Node: node}
	containers, listErr := rt.List(ctx, owner)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(removers)
	for _, c := range containers {
		group.Go(func() error { return rt.Remove(groupCtx, c.ID) })
	}
	errs := []error{listErr, group.Wait()}
	if _, pretends := rt.(runtime.Simulation); !pretends {
		errs = append(errs, network.Cleanup(ctx, cluster, node))
	}
	errs = append(errs, volume.New(podsDir(dataDir), nil, nil, nil).Sweep(func(string) bool { return false }))
	loglink.Usual.Sweep()
	errs = append(errs, checkpoint.Remove(checkpointDir(dataDir)))
	errs = append(errs, volume.NewFolders(volumesDir(dataDir)).Release())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up node %s of cluster %s: %w", node, cluster, err)
	}
	return nil
}
