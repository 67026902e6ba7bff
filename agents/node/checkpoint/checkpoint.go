// Package checkpoint keeps what the control plane has assigned to a node, so that an agent that starts while the control
// plane is away knows what to run. It holds the assignments themselves, one file an object: whoever reads them back takes
// them as if they had just been sent. Secrets lie in memory only, and are gone when the machine restarts.
package checkpoint

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"karve.dev/karve/agents/node/volume"
	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
)

const (
	// settle is how long changes gather before they are written: a pod that starts changes several times.
	settle = time.Second
	// maxBytes bounds what is kept on disk, maxSecretBytes in memory. What does not fit is not kept.
	maxBytes       = 64 << 20
	maxSecretBytes = 16 << 20
)

// Store keeps assignments in a folder. It is safe for concurrent use.
type Store struct {
	shelves [2]*shelf // of objects, of Secrets
	log     *zap.Logger
	wake    chan struct{}
	hurry   chan struct{}

	mu      sync.Mutex
	pending map[string]*nodev1.Change // by file
	only    map[string]bool           // files outside of it are to be removed; nil: none are

	writing sync.Mutex
}

// New returns a store in a folder; without one it keeps nothing.
func New(dir string, log *zap.Logger) *Store {
	s := &Store{log: log.Named("checkpoint"), wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), pending: map[string]*nodev1.Change{}}
	if dir != "" {
		s.shelves = [2]*shelf{
			{dir: filepath.Join(dir, "objects"), limit: maxBytes, open: func(dir string) error { return os.MkdirAll(dir, 0o700) }},
			{dir: filepath.Join(dir, "secrets"), limit: maxSecretBytes, open: func(dir string) error { return volume.InMemory(dir, maxSecretBytes) }},
		}
	}
	return s
}

// Remove removes all that a store has kept in a folder.
func Remove(dir string) error {
	if err := volume.Unmount(dir); err != nil {
		return fmt.Errorf("remove the checkpoint: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the checkpoint: %w", err)
	}
	return nil
}

// Key names an object.
func Key(kind, namespace, name string) string { return kind + "/" + namespace + "/" + name }

// file is the name of an object's file. Namespace and name together may be longer than the name of a file.
func file(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}

// Note takes a change that the control plane has sent. It never blocks.
func (s *Store) Note(c *nodev1.Change) {
	if s.shelves[0] == nil {
		return
	}
	name := file(Key(c.GetKind(), c.GetNamespace(), c.GetName()))
	s.mu.Lock()
	s.pending[name] = c
	if s.only != nil {
		s.only[name] = true
	}
	s.mu.Unlock()
	signal(s.wake)
	if c.GetOp() == nodev1.Change_OP_REMOVE {
		s.Hurry()
	}
}

// Hurry has what was noted written at once: that a pod ends must not be forgotten, or it would begin again.
func (s *Store) Hurry() { signal(s.hurry) }

// Complete tells which objects there are, by their keys: others are forgotten.
func (s *Store) Complete(keys map[string]bool) {
	if s.shelves[0] == nil {
		return
	}
	s.mu.Lock()
	s.only = map[string]bool{}
	for key := range keys {
		s.only[file(key)] = true
	}
	s.mu.Unlock()
	signal(s.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run writes what is noted until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	if s.shelves[0] == nil {
		return nil
	}
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			s.write()
			return nil
		}
		timer := time.NewTimer(settle)
		select {
		case <-timer.C:
		case <-s.hurry:
		case <-ctx.Done():
		}
		timer.Stop()
		s.write()
	}
}

// write brings the files up to date. A failure costs no more than the knowledge: the control plane has all of it. What cannot
// be written is forgotten: nothing is better than something outdated, such as a pod that has been deleted since.
func (s *Store) write() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	pending, only := s.pending, s.only
	s.pending, s.only = map[string]*nodev1.Change{}, nil
	s.mu.Unlock()
	for name, c := range pending {
		shelf := s.shelfOf(c)
		if err := shelf.put(name, c); err != nil {
			err = errors.Join(err, shelf.remove(name))
			s.log.Warn("not kept", zap.String("object", Key(c.GetKind(), c.GetNamespace(), c.GetName())), zap.Error(err))
		}
	}
	if only == nil {
		return
	}
	for _, shelf := range s.shelves {
		if err := shelf.removeOthers(only); err != nil {
			s.log.Warn("keeps what is gone", zap.Error(err))
		}
	}
}

func (s *Store) shelfOf(c *nodev1.Change) *shelf {
	if c.GetKind() == "Secret" {
		return s.shelves[1]
	}
	return s.shelves[0]
}

// Load returns what is kept. A file that cannot be read is as good as none.
func (s *Store) Load() []*nodev1.Change {
	if s.shelves[0] == nil {
		return nil
	}
	s.write()
	var out []*nodev1.Change
	for _, shelf := range s.shelves {
		kept, err := shelf.all()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("read what is kept", zap.Error(err))
		}
		for _, data := range kept {
			c := &nodev1.Change{}
			if err := proto.Unmarshal(data, c); err == nil && c.GetOp() == nodev1.Change_OP_SET {
				out = append(out, c)
			}
		}
	}
	return out
}
