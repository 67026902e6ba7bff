package vmtest

import (
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// folders are where programs and libraries are looked for that no path leads to.
var (
	programFolders = []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin"}
	libraryFolders = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}
)

// addProgram adds a program to the files of the virtual machine, and the libraries that it is linked with.
func addProgram(files map[string]string, name string) error {
	path, err := exec.LookPath(name)
	for _, dir := range programFolders {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	if err != nil {
		return fmt.Errorf("for the virtual machine: %w (scripts/setup.sh test installs what is needed)", err)
	}
	files["bin/"+filepath.Base(name)] = path
	return addLibraries(files, path)
}

func addLibraries(files map[string]string, path string) error {
	file, err := elf.Open(path)
	if err != nil {
		return nil //nolint:nilerr // a script
	}
	defer file.Close()
	needed, err := file.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("libraries of %s: %w", path, err)
	}
	if i := interpreter(file); i != "" {
		files[strings.TrimPrefix(i, "/")] = i
	}
	for _, name := range needed {
		library, err := findLibrary(name)
		if err != nil {
			return fmt.Errorf("%s needs it: %w", path, err)
		}
		place := strings.TrimPrefix(library, "/")
		if _, have := files[place]; have {
			continue
		}
		files[place] = library
		if err := addLibraries(files, library); err != nil {
			return err
		}
	}
	return nil
}

func findLibrary(name string) (string, error) {
	for _, dir := range libraryFolders {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no library %s", name)
}

// interpreter is what the kernel starts for a program that needs shared libraries; empty for one that needs none.
func interpreter(file *elf.File) string {
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			text, _ := io.ReadAll(p.Open())
			return strings.TrimRight(string(text), "\x00")
		}
	}
	return ""
}

// addTree adds a file, or a folder with all that is in it, and the libraries of what is loaded from there.
func addTree(files map[string]string, place, path string) error {
	return filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(path, p)
		if err != nil {
			return err
		}
		files[filepath.Join(place, rel)] = p
		return addLibraries(files, p)
	})
}
