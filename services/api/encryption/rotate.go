package encryption

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"karve.dev/karve/services/api/store"
)

// RotateKey puts a new key in front of those in the file at path, encrypts everything with it, and then takes the older
// keys out of the file. It returns the new key's name. The store must be the only one that uses the file. Called again
// after a failure it finishes the work with yet another key.
func (s *Store) RotateKey(ctx context.Context, path string) (string, error) {
	if err := Rotate(path); err != nil {
		return "", err
	}
	ring, err := LoadOrCreate(path)
	if err != nil {
		return "", err
	}
	s.ring.Store(ring)
	if err := s.Rewrite(ctx); err != nil {
		return "", err
	}
	return ring.keys[0].name, keepFirst(path)
}

// Rotate puts a new key in front of those in the file, for the next LoadOrCreate.
func Rotate(path string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the encryption keys: %w", err)
	}
	line, err := newLine()
	if err != nil {
		return err
	}
	return replace(path, append(line, old...))
}

// keepFirst forgets all keys of the file but the first. What the process has read of it stays usable: somebody may still
// read what was stored before.
func keepFirst(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the encryption keys: %w", err)
	}
	for line := range bytes.Lines(data) {
		if text := bytes.TrimSpace(line); len(text) > 0 && text[0] != '#' {
			return replace(path, append(text, '\n'))
		}
	}
	return errNoKey
}

// replace changes the file in one step that survives a power cut: half a key file would be the loss of every Secret.
func replace(path string, data []byte) error {
	tmp, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write the encryption keys: %w", err)
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err == nil {
		err = syncFolder(path)
	}
	if err != nil {
		return fmt.Errorf("write the encryption keys: %w", err)
	}
	return nil
}

// syncFolder makes sure that the file's name in its folder survives, too: what is encrypted with a key reaches the disk
// only after the key has.
func syncFolder(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Rewrite encrypts anew, with the ring's first key, what is stored in the clear or under an older key. It is safe
// beside other writers: what somebody else writes meanwhile is left to them.
func (s *Store) Rewrite(ctx context.Context) error {
	ring := s.ring.Load()
	for _, prefix := range s.prefixes {
		kvs, _, err := s.Store.List(ctx, prefix, store.ListOptions{})
		if err != nil {
			return fmt.Errorf("list what to encrypt: %w", err)
		}
		for _, kv := range kvs {
			if ring.current(kv.Value) {
				continue
			}
			value, err := ring.Open(kv.Key, kv.Value)
			if err != nil {
				return fmt.Errorf("decrypt %s: %w", kv.Key, err)
			}
			_, err = s.Commit(ctx, store.Op{Key: kv.Key, Value: value, Expected: kv.Revision})
			if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("encrypt %s: %w", kv.Key, err)
			}
		}
	}
	return nil
}
