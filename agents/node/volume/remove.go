package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxDepth bounds the folders that are open at a time: containers may nest theirs as deep as they like.
const maxDepth = 30

// removeAll removes a folder piece by piece, so that it may be interrupted, and without following links. What lies too
// deep is first brought to the top.
func removeAll(ctx context.Context, root *os.Root, name string) error {
	r := &remover{ctx: ctx, root: root, top: name}
	for {
		before := r.moved
		if err := r.empty(name, 0); err != nil {
			return err
		}
		if r.moved == before {
			return root.RemoveAll(name)
		}
	}
}

type remover struct {
	ctx   context.Context
	root  *os.Root
	top   string
	moved int
}

// empty removes what is in a folder.
func (r *remover) empty(name string, depth int) error {
	dir, err := r.root.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(256)
		for _, e := range entries {
			if err := r.remove(filepath.Join(name, e.Name()), e.IsDir(), depth+1); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func (r *remover) remove(path string, isDir bool, depth int) error {
	switch {
	case r.ctx.Err() != nil:
		return r.ctx.Err()
	case !isDir:
	case depth > maxDepth:
		r.moved++
		err := r.root.Rename(path, filepath.Join(r.top, fmt.Sprintf("..deep-%d-%d", os.Getpid(), r.moved)))
		if errors.Is(err, os.ErrExist) {
			return nil // left there by an earlier attempt; the next pass finds another name
		}
		return err
	default:
		if err := r.empty(path, depth); err != nil {
			return err
		}
	}
	if err := r.root.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) && !isDir {
		return err
	}
	return nil // a folder that is not empty after all is the next pass's, or RemoveAll's
}
