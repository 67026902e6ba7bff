package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"karve.dev/karve/agents/node/runtime"
)

// inspectors bounds the parallel inspections of List.
const inspectors = 8

// CreateSandbox implements runtime.Runtime.
func (r *Runtime) CreateSandbox(ctx context.Context, spec runtime.SandboxSpec) (string, error) {
	config, host := r.sandboxConfig(spec)
	id, err := r.create(ctx, spec.Meta, config, host)
	if !errors.Is(err, runtime.ErrNotFound) {
		return id, err
	}
	if err := r.loadPause(ctx); err != nil {
		return "", err
	}
	return r.create(ctx, spec.Meta, config, host)
}

// CreateContainer implements runtime.Runtime.
func (r *Runtime) CreateContainer(ctx context.Context, spec runtime.ContainerSpec) (string, error) {
	config, host := r.containerConfig(spec)
	return r.create(ctx, spec.Meta, config, host)
}

func (r *Runtime) create(ctx context.Context, meta runtime.Meta, config *container.Config, host *container.HostConfig) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	name := meta.ContainerName()
	opts := client.ContainerCreateOptions{Config: config, HostConfig: host, Name: name}
	res, err := r.cli.ContainerCreate(ctx, opts)
	if cerrdefs.IsConflict(err) {
		// Left by an attempt that was cut off. What runs and is the same is kept; what never ran may be out of date.
		old, inspectErr := r.Inspect(ctx, name)
		if inspectErr == nil && old.State == runtime.Running && old.Meta == meta {
			return old.ID, nil
		}
		if removeErr := r.Remove(ctx, name); removeErr != nil {
			return "", removeErr
		}
		res, err = r.cli.ContainerCreate(ctx, opts)
	}
	if err != nil && meta.Handler != "" {
		if info, infoErr := r.Info(ctx); infoErr == nil && !slices.Contains(info.Handlers, meta.Handler) {
			return "", fmt.Errorf("no runtime for %q is configured: the engine has %s", meta.Handler, strings.Join(info.Handlers, ", "))
		}
	}
	if err != nil && answered(err) && !cerrdefs.IsNotFound(err) {
		return "", errors.New(message(err)) // a user reads it
	}
	return res.ID, wrap("create container "+name, err)
}

// Start implements runtime.Runtime.
func (r *Runtime) Start(ctx context.Context, id string) (runtime.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := r.cli.ContainerStart(ctx, id, client.ContainerStartOptions{})
	if err == nil {
		return r.Inspect(ctx, id)
	}
	if answered(err) && !missing(err, id) {
		return runtime.Container{}, &runtime.StartError{Message: message(err)}
	}
	return runtime.Container{}, wrap("start container "+id, err)
}

// missing tells "no such container" from the other things that the engine cannot find when it starts one.
func missing(err error, id string) bool {
	return cerrdefs.IsNotFound(err) && strings.Contains(err.Error(), "No such container: "+id)
}

// Signal implements runtime.Runtime.
func (r *Runtime) Signal(ctx context.Context, id, signal string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := r.cli.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: signal})
	if cerrdefs.IsNotFound(err) || cerrdefs.IsConflict(err) {
		return nil // gone, or not running
	}
	return wrap(fmt.Sprintf("send %s to container %s", signal, id), err)
}

// Resize implements runtime.Resizer.
func (r *Runtime) Resize(ctx context.Context, id string, to runtime.Resources) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resources := limits(to)
	_, err := r.cli.ContainerUpdate(ctx, id, client.ContainerUpdateOptions{Resources: &resources})
	return wrap("resize container "+id, err)
}

// Remove implements runtime.Runtime.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	before, err := r.Inspect(ctx, id)
	if errors.Is(err, runtime.ErrNotFound) {
		endLost(id) // the engine may have removed it after it was killed in the middle of that
		return nil
	}
	if err == nil && before.State != runtime.Running && before.StartedAt.IsZero() {
		defer endLost(before.ID)
	}
	_, err = r.cli.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	if cerrdefs.IsConflict(err) && strings.Contains(err.Error(), "already in progress") {
		return r.waitGone(ctx, id)
	}
	return wrap("remove container "+id, err)
}

// waitGone waits for a removal that somebody else has begun.
func (r *Runtime) waitGone(ctx context.Context, id string) error {
	res := r.cli.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
	select {
	case <-res.Result:
		return nil
	case err := <-res.Error:
		if cerrdefs.IsNotFound(err) {
			return nil
		}
		return wrap("wait for the removal of container "+id, err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Inspect implements runtime.Runtime.
func (r *Runtime) Inspect(ctx context.Context, id string) (runtime.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := r.cli.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return runtime.Container{}, wrap("inspect container "+id, err)
	}
	if res.Container.ID == "" || res.Container.Config == nil || res.Container.State == nil {
		return runtime.Container{}, wrap("inspect container "+id, errIncomplete)
	}
	return observe(&res.Container), nil
}

// List implements runtime.Runtime.
func (r *Runtime) List(ctx context.Context, owner runtime.Owner) ([]runtime.Container, error) {
	listCtx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := r.cli.ContainerList(listCtx, client.ContainerListOptions{All: true, Filters: filters(owner)})
	if err != nil {
		return nil, wrap("list containers", err)
	}
	found := make([]runtime.Container, len(res.Items))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inspectors)
	for i := range res.Items {
		group.Go(func() error {
			c, err := r.Inspect(ctx, res.Items[i].ID)
			if errors.Is(err, runtime.ErrNotFound) {
				return nil
			}
			found[i] = c
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	kept := found[:0]
	for _, c := range found {
		if c.ID != "" && c.UID != "" {
			kept = append(kept, c)
		}
	}
	r.removeLostGroups(listCtx, kept)
	return kept, nil
}

func filters(owner runtime.Owner) client.Filters {
	return client.Filters{}.Add("label", runtime.LabelCluster+"="+owner.Cluster, runtime.LabelNode+"="+owner.Node)
}

func observe(res *container.InspectResponse) runtime.Container {
	meta, _ := runtime.ParseMeta(res.Config.Labels)
	c := runtime.Container{
		Meta: meta, ID: res.ID, Image: res.Config.Image, ImageID: res.Image,
		CreatedAt: parseTime(res.Created), StartedAt: parseTime(res.State.StartedAt), FinishedAt: parseTime(res.State.FinishedAt),
		PID: res.State.Pid, ExitCode: int32(res.State.ExitCode), OOMKilled: res.State.OOMKilled, Error: res.State.Error, Log: res.LogPath,
	}
	switch {
	case res.State.Running || res.State.Paused || res.State.Restarting:
		c.State = runtime.Running
	case res.State.Status == container.StateCreated && res.State.ExitCode == 0 && res.State.Error == "":
		c.State = runtime.Created
	default:
		c.State = runtime.Exited
	}
	if c.State == runtime.Exited && c.StartedAt.IsZero() && c.FinishedAt.IsZero() {
		c.FinishedAt = c.CreatedAt // never started: it failed as it was made
	}
	return c
}

// parseTime reads the engine's times, where year 1 means never.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}
