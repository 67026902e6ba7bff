package docker

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"karve.dev/karve/agents/node/runtime"
)

const (
	// maxRead bounds what is read of one file, maxLinks the links that are followed to it.
	maxRead  = 1 << 20
	maxLinks = 8
)

// ReadImage implements runtime.ImageReader. The engine shows the files of containers only, so one is made for it, and is
// never started. One that a killed agent has left is found by its name.
func (r *Runtime) ReadImage(ctx context.Context, owner runtime.Owner, image string, files ...string) (map[string][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	name := fmt.Sprintf("karve-%s-%s-reads-%.12s", owner.Cluster, owner.Node, strings.TrimPrefix(image, "sha256:"))
	_, err := r.cli.ContainerCreate(ctx, client.ContainerCreateOptions{Name: name, Config: &container.Config{
		Image: image, Entrypoint: []string{"-"}, NetworkDisabled: true, Labels: map[string]string{runtime.LabelCluster: owner.Cluster},
	}, HostConfig: &container.HostConfig{LogConfig: container.LogConfig{Type: "none"}}})
	if err != nil && !cerrdefs.IsConflict(err) {
		return nil, wrap("read image "+image, err)
	}
	out := map[string][]byte{}
	for _, file := range files {
		content, err := r.readFile(ctx, name, file)
		if err != nil && !errors.Is(err, runtime.ErrNotFound) {
			return nil, fmt.Errorf("read %s of image %s: %w", file, image, err)
		}
		out[file] = content
	}
	_, err = r.cli.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true})
	return out, wrap("remove container "+name, err)
}

// readFile reads a file, of which links may tell where it is; as all links in an image, they stay in it.
func (r *Runtime) readFile(ctx context.Context, id, file string) ([]byte, error) {
	for range maxLinks {
		res, err := r.cli.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: file})
		if err != nil {
			return nil, wrap("read "+file, err)
		}
		archive := tar.NewReader(res.Content)
		header, err := archive.Next()
		if err == nil && header.Typeflag == tar.TypeSymlink {
			_ = res.Content.Close()
			file = target(file, header.Linkname)
			continue
		}
		var content []byte
		if err == nil {
			content, err = io.ReadAll(io.LimitReader(archive, maxRead))
		}
		_ = res.Content.Close()
		return content, err
	}
	return nil, errors.New("too many links")
}

// target is where a link at a path leads.
func target(at, link string) string {
	if path.IsAbs(link) {
		return link
	}
	return path.Join(path.Dir(at), link)
}
