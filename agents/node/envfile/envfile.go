// Package envfile reads environment variables from files that containers have written: NAME='value', one after another. A
// value may span lines and is taken as it stands; what follows # is a comment.
package envfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxSize bounds a file.
const maxSize = 1 << 20

// Read returns the value of a name in a file below a folder; empty when the file does not have it. Links in the folder
// lead nowhere else: a container may have made them.
func Read(folder, path, name string) (string, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return "", fmt.Errorf("open the volume: %w", err)
	}
	defer root.Close()
	// What a container has made there may be a pipe that nobody writes to.
	f, err := root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("open the file of environment variables: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", fmt.Errorf("look at the file of environment variables: %w", err)
	case !info.Mode().IsRegular() || info.Size() > maxSize:
		return "", fmt.Errorf("%s is not a file of at most %d bytes", path, maxSize)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSize))
	if err != nil {
		return "", fmt.Errorf("read the file of environment variables: %w", err)
	}
	return Find(string(text), name)
}

// Find returns the value of the first definition of a name; empty when there is none.
func Find(text, name string) (string, error) {
	for number := 1; text != ""; {
		line, rest, _ := strings.Cut(text, "\n")
		line = strings.TrimLeft(strings.TrimSuffix(line, "\r"), " \t")
		if line == "" || strings.HasPrefix(line, "#") {
			text = rest
			number++
			continue
		}
		_, definition, _ := strings.Cut(text, line[:1])
		found, value, after, err := define(line[:1] + definition)
		if err != nil {
			return "", fmt.Errorf("line %d: %w", number, err)
		}
		if found == name {
			return value, nil
		}
		number += strings.Count(text[:len(text)-len(after)], "\n")
		text = after
	}
	return "", nil
}

// define reads the definition that a text begins with and returns what follows its line.
func define(text string) (name, value, rest string, err error) {
	name, rest, ok := strings.Cut(text, "=")
	switch {
	case !ok || strings.Contains(name, "\n"):
		return "", "", "", errors.New("a definition needs a =")
	case name == "" || strings.ContainsAny(name, " \t"):
		return "", "", "", errors.New("a name is needed right before the =")
	case rest == "" || strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "\t"):
		_, rest, _ = strings.Cut(rest, "\n") // as in a shell: the name is set to nothing
		return name, "", rest, nil
	case !strings.HasPrefix(rest, "'"):
		return "", "", "", errors.New("a value needs single quotes")
	}
	value, rest, ok = strings.Cut(rest[1:], "'")
	if !ok {
		return "", "", "", errors.New("a quote is not closed")
	}
	end, rest, _ := strings.Cut(rest, "\n")
	if end = strings.TrimSpace(end); end != "" && !strings.HasPrefix(end, "#") {
		return "", "", "", errors.New("something follows the value")
	}
	return name, value, rest, nil
}
