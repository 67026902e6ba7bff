package vmtest

import (
	"bytes"
	"fmt"
	"io"
)

// archive writes an initramfs: a cpio archive in the form that kernels read ("newc").
type archive struct {
	w     io.Writer
	inode int
	err   error
}

const (
	modeDirectory  = 0o040755
	modeExecutable = 0o100755
)

func (a *archive) directory(name string) { a.entry(name, modeDirectory, nil) }

func (a *archive) file(name string, content []byte) { a.entry(name, modeExecutable, content) }

func (a *archive) entry(name string, mode int, content []byte) {
	a.inode++
	var buf bytes.Buffer
	fmt.Fprintf(&buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	buf.WriteString(name + "\x00")
	pad(&buf)
	buf.Write(content)
	pad(&buf)
	if a.err == nil {
		_, a.err = a.w.Write(buf.Bytes())
	}
}

func pad(buf *bytes.Buffer) {
	for buf.Len()%4 != 0 {
		buf.WriteByte(0)
	}
}

// close ends the archive.
func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, nil)
	return a.err
}
