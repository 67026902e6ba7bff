package vmtest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"path/filepath"
)

// archive writes an initramfs: a cpio archive in the form that kernels read ("newc").
type archive struct {
	w     *bufio.Writer
	inode int
	made  map[string]bool
}

const (
	modeDirectory  = 0o040755
	modeExecutable = 0o100755
)

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriter(w), made: map[string]bool{".": true}}
}

// directory adds a folder, and first those that it is in.
func (a *archive) directory(name string) {
	if a.made[name] {
		return
	}
	a.made[name] = true
	a.directory(filepath.Dir(name))
	a.entry(name, modeDirectory, nil)
}

func (a *archive) file(name string, content []byte) {
	a.directory(filepath.Dir(name))
	a.entry(name, modeExecutable, content)
}

// entry leaves errors to close: the writer keeps the first.
func (a *archive) entry(name string, mode int, content []byte) {
	a.inode++
	var head bytes.Buffer
	fmt.Fprintf(&head, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	head.WriteString(name + "\x00")
	pad(&head, head.Len())
	_, _ = a.w.Write(head.Bytes())
	_, _ = a.w.Write(content)
	var end bytes.Buffer
	pad(&end, len(content))
	_, _ = a.w.Write(end.Bytes())
}

// pad fills what is written up to a multiple of four bytes.
func pad(buf *bytes.Buffer, length int) { buf.Write(make([]byte, (4-length%4)%4)) }

// close ends the archive.
func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, nil)
	return a.w.Flush()
}
