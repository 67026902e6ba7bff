package encryption

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	keyBytes = 32
	maxName  = 40
)

var errNoKey = errors.New("the file of encryption keys holds no key")

// Ring holds the keys: the first encrypts, all decrypt.
type Ring struct{ keys []key }

type key struct {
	name string
	aead cipher.AEAD
}

// LoadOrCreate reads the key file, or makes one with a first key. The file, one "name base64" a line, is readable by
// its owner only; a file that others can read is refused. Whoever has it can read every Secret, and without it nobody
// can.
func LoadOrCreate(path string) (*Ring, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		line, err := newLine()
		if err != nil {
			return nil, err
		}
		if err := create(path, line); err != nil {
			return nil, err
		}
		info, err = os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("read the encryption keys: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("read the encryption keys: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the encryption keys in %s can be read by others: make its mode 0600", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the encryption keys: %w", err)
	}
	return Parse(data)
}

// create writes the first key without ever replacing a file: of several processes that start at once, one wins.
func create(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".keys-*")
	if err != nil {
		return fmt.Errorf("make the encryption keys: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o600), tmp.Sync(), tmp.Close())
	if err == nil {
		if err = os.Link(tmp.Name(), path); errors.Is(err, os.ErrExist) {
			err = nil
		}
	}
	if err == nil {
		err = syncFolder(path)
	}
	if err != nil {
		return fmt.Errorf("make the encryption keys: %w", err)
	}
	return nil
}

func newLine() ([]byte, error) {
	secret := make([]byte, keyBytes)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("draw an encryption key: %w", err)
	}
	sum := sha256.Sum256(secret)
	return []byte("key-" + hex.EncodeToString(sum[:8]) + " " + base64.StdEncoding.EncodeToString(secret) + "\n"), nil
}

// Parse reads keys in the form of the key file.
func Parse(data []byte) (*Ring, error) {
	r := &Ring{}
	for n, line := range bytes.Split(data, []byte("\n")) {
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		name, encoded, ok := strings.Cut(text, " ")
		secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if !ok || err != nil || len(secret) != keyBytes || len(name) > maxName || strings.Contains(name, ":") {
			return nil, fmt.Errorf("line %d of the encryption keys is not \"name base64-of-%d-bytes\"", n+1, keyBytes)
		}
		aead, err := newAEAD(secret)
		if err != nil {
			return nil, fmt.Errorf("line %d of the encryption keys: %w", n+1, err)
		}
		r.keys = append(r.keys, key{name, aead})
	}
	if len(r.keys) == 0 {
		return nil, errNoKey
	}
	return r, nil
}
