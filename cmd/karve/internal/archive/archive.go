// Package archive is the file that karve backup writes: a zip of the cluster's settings, its keys and its objects, with a
// SHA-256 checksum of each. The checksums find damage, not forgery: the file holds the cluster's keys, and must be kept
// as safe as the cluster's data directory.
package archive

import (
	"archive/zip"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sort"
	"strings"
)

// The members of an archive. Keys are the files below Keys.
const (
	Settings = "cluster.json"
	Secrets  = "encryption.json"
	Keys     = "pki/"
	Objects  = "objects"
	sums     = "SHA256SUMS"
)

// ErrDamaged says that an archive is not what was written.
var ErrDamaged = errors.New("the backup is damaged")

// Writer writes an archive.
type Writer struct {
	zip     *zip.Writer
	name    string
	current hash.Hash
	sums    strings.Builder
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{zip: zip.NewWriter(w)} }

// Member begins the next member; what is written to it until the next call is its content.
func (w *Writer) Member(name string) (io.Writer, error) {
	w.seal()
	member, err := w.zip.Create(name)
	if err != nil {
		return nil, fmt.Errorf("write %s to the backup: %w", name, err)
	}
	w.name, w.current = name, sha256.New()
	return io.MultiWriter(member, w.current), nil
}

func (w *Writer) seal() {
	if w.current != nil {
		fmt.Fprintf(&w.sums, "%x  %s\n", w.current.Sum(nil), w.name)
		w.current = nil
	}
}

// Close writes the checksums and ends the archive.
func (w *Writer) Close() error {
	w.seal()
	member, err := w.zip.Create(sums)
	if err == nil {
		_, err = io.WriteString(member, w.sums.String())
	}
	return errors.Join(err, w.zip.Close())
}

// Reader is an archive whose checksums are right.
type Reader struct{ members map[string]*zip.File }

// Open reads an archive of size bytes and verifies all of it.
func Open(file io.ReaderAt, size int64) (*Reader, error) {
	z, err := zip.NewReader(file, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	r := &Reader{members: map[string]*zip.File{}}
	for _, f := range z.File {
		if r.members[f.Name] != nil {
			return nil, fmt.Errorf("%w: %s is there twice", ErrDamaged, f.Name)
		}
		r.members[f.Name] = f
	}
	expected, err := r.sums()
	if err != nil {
		return nil, err
	}
	for name := range r.members {
		if expected[name] == "" && name != sums {
			return nil, fmt.Errorf("%w: %s has no checksum", ErrDamaged, name)
		}
	}
	for name, sum := range expected {
		if err := r.verify(name, sum); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{Settings, Objects} {
		if r.members[name] == nil {
			return nil, fmt.Errorf("%w: %s is missing", ErrDamaged, name)
		}
	}
	return r, nil
}

func (r *Reader) sums() (map[string]string, error) {
	f, err := r.Member(sums)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok {
			return nil, fmt.Errorf("%w: %s cannot be read", ErrDamaged, sums)
		}
		out[name] = sum
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, sums, err)
	}
	return out, nil
}

func (r *Reader) verify(name, want string) error {
	f, err := r.Member(name)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != want {
		return fmt.Errorf("%w: %s does not have its checksum", ErrDamaged, name)
	}
	return nil
}

// Member opens a member; the caller closes it.
func (r *Reader) Member(name string) (io.ReadCloser, error) {
	f := r.members[name]
	if f == nil {
		return nil, fmt.Errorf("%w: %s is missing", ErrDamaged, name)
	}
	member, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
	}
	return member, nil
}

// Names returns the members' names that begin with prefix, in order.
func (r *Reader) Names(prefix string) []string {
	var out []string
	for name := range r.members {
		if strings.HasPrefix(name, prefix) {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out
}
