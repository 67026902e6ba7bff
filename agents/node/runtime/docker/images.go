package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"

	"karve.dev/karve/agents/node/runtime"
)

// Image implements runtime.Runtime.
func (r *Runtime) Image(ctx context.Context, ref string) (runtime.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := r.cli.ImageInspect(ctx, ref)
	if err != nil {
		return runtime.Image{}, wrap("inspect image "+ref, err)
	}
	image := runtime.Image{ID: res.ID, Names: res.RepoTags, Digests: res.RepoDigests, Size: res.Size}
	if res.Config != nil {
		image.User, image.StopSignal = res.Config.User, res.Config.StopSignal
		image.Volumes = slices.Sorted(maps.Keys(res.Config.Volumes))
	}
	if driver := res.GraphDriver; driver != nil && driver.Data["UpperDir"] != "" {
		image.Layers = []string{driver.Data["UpperDir"]}
		if lower := driver.Data["LowerDir"]; lower != "" {
			image.Layers = append(image.Layers, strings.Split(lower, ":")...)
		}
	}
	return image, nil
}

// Images implements runtime.Runtime.
func (r *Runtime) Images(ctx context.Context) ([]runtime.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := r.cli.ImageList(ctx, client.ImageListOptions{})
	if err != nil {
		return nil, wrap("list images", err)
	}
	out := make([]runtime.Image, 0, len(res.Items))
	for _, image := range res.Items {
		out = append(out, runtime.Image{ID: image.ID, Names: image.RepoTags, Digests: image.RepoDigests, Size: image.Size})
	}
	return out, nil
}

// Pull implements runtime.Runtime. How long it may take is the caller's context's to say.
func (r *Runtime) Pull(ctx context.Context, ref string, auth *runtime.Credentials) error {
	return r.PullTelling(ctx, ref, auth, nil)
}

// PullTelling implements runtime.ProgressPuller.
func (r *Runtime) PullTelling(ctx context.Context, ref string, auth *runtime.Credentials, tell runtime.Progress) error {
	var opts client.ImagePullOptions
	if auth != nil {
		encoded, err := authconfig.Encode(registry.AuthConfig{
			Username: auth.Username, Password: auth.Password, ServerAddress: auth.ServerAddress,
			IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
		})
		if err != nil {
			return fmt.Errorf("encode registry credentials: %w", err)
		}
		opts.RegistryAuth = encoded
	}
	progress, err := r.cli.ImagePull(ctx, ref, opts)
	if err != nil {
		return pullError(err)
	}
	defer progress.Close()
	if tell == nil {
		return pullError(progress.Wait(ctx))
	}
	layers := layers{}
	for message, err := range progress.JSONMessages(ctx) {
		if err == nil && message.Error != nil {
			err = message.Error
		}
		if err != nil {
			return pullError(err)
		}
		if p := message.Progress; p != nil && message.Status == "Downloading" {
			tell(layers.add(message.ID, p.Current, p.Total))
		}
	}
	return nil
}

// layers are how much of each layer of an image has come.
type layers map[string][2]int64

// add takes news of one and returns the sums.
func (l layers) add(id string, current, total int64) (done, all int64) {
	l[id] = [2]int64{current, total}
	for _, one := range l {
		done, all = done+one[0], all+one[1]
	}
	return done, all
}

// RemoveImage implements runtime.ImageRemover.
func (r *Runtime) RemoveImage(ctx context.Context, ref string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := r.cli.ImageRemove(ctx, ref, client.ImageRemoveOptions{PruneChildren: true})
	return wrap("remove image "+ref, err)
}

// pullError keeps the registry's own words: they are what a user acts upon.
func pullError(err error) error {
	if err == nil {
		return nil
	}
	if client.IsErrConnectionFailed(err) {
		return wrap("pull", err)
	}
	return errors.New(message(err))
}
