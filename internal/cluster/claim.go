package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// What a cluster makes on the engine and in the kernel is labelled with its name. So a name belongs to one data directory
// at a time on a machine, from its start until karve down has removed everything.
const claims = DefaultRoot + "/.names"

// ErrClaimed says that another data directory has the name.
var ErrClaimed = errors.New("the name is taken")

// Claim takes a name for a data directory. It fails with ErrClaimed when another one has it.
func Claim(name string, dir Dir) error {
	if err := CheckClaim(name, dir); err != nil {
		return err
	}
	if err := os.MkdirAll(claims, 0o700); err != nil {
		return fmt.Errorf("claim the name %q: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(claims, name), []byte(string(dir)+"\n"), 0o600); err != nil {
		return fmt.Errorf("claim the name %q: %w", name, err)
	}
	return nil
}

// CheckClaim says whether a data directory may have a name. A claim counts as long as the cluster that made it exists.
func CheckClaim(name string, dir Dir) error {
	raw, err := os.ReadFile(filepath.Join(claims, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read who has the name %q: %w", name, err)
	}
	owner := Dir(strings.TrimSpace(string(raw)))
	if owner == dir {
		return nil
	}
	if s, known, err := owner.Load(); err == nil && (!known || s.Name != name) {
		return nil
	}
	return fmt.Errorf("%w: there is a cluster %q in %s already: choose another --name, or remove that one (karve down --data-dir %s)", ErrClaimed, name, owner, owner)
}

// Known are the clusters of this machine, by their names: those that have claimed one, wherever their data is, and those in
// DefaultRoot. Whoever may not see them sees none.
func Known() map[string]Dir {
	out := map[string]Dir{}
	add := func(name string, dir Dir) {
		if s, known, err := dir.Load(); err == nil && known && s.Name == name {
			out[name] = dir
		}
	}
	for _, name := range names(DefaultRoot) {
		add(name, DirOf(name))
	}
	for _, name := range names(claims) {
		if raw, err := os.ReadFile(filepath.Join(claims, name)); err == nil {
			add(name, Dir(strings.TrimSpace(string(raw))))
		}
	}
	return out
}

func names(dir string) (out []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// Release gives up a name, if dir has it.
func Release(name string, dir Dir) error {
	if err := CheckClaim(name, dir); err != nil {
		return err
	}
	err := os.Remove(filepath.Join(claims, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("give up the name %q: %w", name, err)
	}
	return nil
}
