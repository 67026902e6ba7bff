package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
)

// next is the file that is being written; it takes another's name when it is complete.
const next = ".next"

// shelf is a folder with a file for each object, and a bound for all of them.
type shelf struct {
	dir   string
	limit int64
	// open makes the folder; it is not made before something is to lie in it.
	open   func(dir string) error
	opened bool
	sizes  map[string]int64
	total  int64
}

func (s *shelf) prepare() error {
	if s.opened {
		return nil
	}
	if err := s.open(s.dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("read %s: %w", s.dir, err)
	}
	s.sizes, s.total = map[string]int64{}, 0
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			s.sizes[e.Name()] = info.Size()
			s.total += info.Size()
		}
	}
	s.opened = true
	return nil
}

// put writes an object's file, or removes it. The file is whole at any time; it is not forced to the disk, where it
// would only matter in a power failure that the control plane does not come back from either.
func (s *shelf) put(name string, c *nodev1.Change) error {
	if c.GetOp() == nodev1.Change_OP_REMOVE {
		return s.remove(name)
	}
	if err := s.prepare(); err != nil {
		return err
	}
	data, err := proto.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	path, size := filepath.Join(s.dir, name), int64(len(data))
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	if s.total-s.sizes[name]+size > s.limit {
		return fmt.Errorf("more than %d bytes", s.limit)
	}
	if err := os.WriteFile(filepath.Join(s.dir, next), data, 0o600); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := os.Rename(filepath.Join(s.dir, next), path); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	s.total += size - s.sizes[name]
	s.sizes[name] = size
	return nil
}

func (s *shelf) remove(name string) error {
	if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove: %w", err)
	}
	s.total -= s.sizes[name]
	delete(s.sizes, name)
	return nil
}

// removeOthers removes all files but some.
func (s *shelf) removeOthers(keep map[string]bool) error {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", s.dir, err)
	}
	var errs []error
	for _, e := range entries {
		if !keep[e.Name()] {
			errs = append(errs, s.remove(e.Name()))
		}
	}
	return errors.Join(errs...)
}

// all returns the content of all files.
func (s *shelf) all() ([][]byte, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.dir, err)
	}
	var out [][]byte
	for _, e := range entries {
		if data, err := os.ReadFile(filepath.Join(s.dir, e.Name())); err == nil && e.Name() != next {
			out = append(out, data)
		}
	}
	return out, nil
}
