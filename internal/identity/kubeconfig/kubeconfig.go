// Package kubeconfig adds a cluster to a user's kubeconfig, and takes it out again, without touching anything else in
// the file.
package kubeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// Entry is a cluster, a user and a context that joins them, all of one name.
type Entry struct {
	Name string
	// Server is the API's URL.
	Server string
	// CA, Cert and Key are PEM.
	CA, Cert, Key []byte
}

// File is a kubeconfig and whose it is.
type File struct {
	Path string
	// UID and GID own the file; a file of anybody else is left alone.
	UID, GID int
}

// ErrLeftAlone is wrapped by every error after which the file is as it was because it is not ours to change.
var ErrLeftAlone = errors.New("left alone")

// Default returns the kubeconfig that kubectl reads: $KUBECONFIG's first file, else ~/.kube/config. Under sudo it is
// that of the user who called sudo.
func Default() (File, error) {
	f := File{UID: os.Geteuid(), GID: os.Getegid()}
	home, err := os.UserHomeDir()
	if name := os.Getenv("SUDO_USER"); f.UID == 0 && name != "" && name != "root" {
		home, err = f.sudoUser(name)
	}
	if first := filepath.SplitList(os.Getenv("KUBECONFIG")); len(first) > 0 && first[0] != "" {
		f.Path = first[0]
		return f, nil
	}
	if err != nil {
		return File{}, fmt.Errorf("find the home directory for .kube/config (set KUBECONFIG to choose a file): %w", err)
	}
	f.Path = filepath.Join(home, ".kube", "config")
	return f, nil
}

func (f *File) sudoUser(name string) (home string, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return "", err
	}
	f.UID, f.GID = uid, gid
	return u.HomeDir, nil
}

// Merge adds e to the file, or brings its entries there up to date, and makes it the current context. A file that is
// not there is made.
func (f File) Merge(e Entry) error {
	return f.change(func(doc *document) (bool, error) { return doc.merge(e) })
}

// Remove takes the cluster, user and context called name out of the file. A file that is not there is fine.
func (f File) Remove(name string) error {
	if _, err := os.Stat(f.Path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return f.change(func(doc *document) (bool, error) { return doc.remove(name) })
}

// Bytes returns a kubeconfig with nothing but e.
func (e Entry) Bytes() ([]byte, error) {
	doc, err := parse(nil)
	if err != nil {
		return nil, err
	}
	if _, err := doc.merge(e); err != nil {
		return nil, err
	}
	return doc.bytes()
}

// Write makes or replaces a file of Karve's own with nothing but e, readable by its owner only.
func (f File) Write(e Entry) error {
	data, err := e.Bytes()
	if err != nil {
		return err
	}
	dir, name, err := f.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := f.replace(dir, name, data, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", f.Path, err)
	}
	return nil
}

func (f File) change(edit func(*document) (changed bool, err error)) error {
	dir, name, err := f.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	unlock, err := f.lock(dir, name)
	if err != nil {
		return err
	}
	defer unlock()
	before, mode, err := f.read(dir, name)
	if err != nil {
		return err
	}
	doc, err := parse(before)
	if err != nil {
		return f.leave(fmt.Sprintf("it is not a kubeconfig that can be read (%v)", err), "repair it or move it away")
	}
	changed, err := edit(doc)
	if err != nil {
		return f.leave(err.Error(), "repair it or move it away")
	}
	if !changed {
		return nil
	}
	after, err := doc.bytes()
	if err != nil {
		return fmt.Errorf("write %s: %w", f.Path, err)
	}
	if bytes.Equal(before, after) {
		return nil
	}
	if err := f.replace(dir, name, after, mode); err != nil {
		return fmt.Errorf("write %s: %w", f.Path, err)
	}
	return nil
}

// leave says why the file is left alone, and what its owner can do about it.
func (f File) leave(why, do string) error {
	why = strings.ReplaceAll(why, "\n", " ")
	return fmt.Errorf("%s is %w: %s; %s, or choose another file with KUBECONFIG", f.Path, ErrLeftAlone, why, do)
}
