// Package pause is the program that holds a pod's namespaces while nothing else runs in them, and the image that it
// runs from. Both are made here, byte by byte, so that no toolchain and no registry is needed: the program is a
// few dozen machine instructions in a minimal ELF file.
//
// What it does: SIGTERM and SIGINT end it (as the first process of a container it would otherwise ignore them),
// children that were left to it are reaped by the kernel (SIGCHLD is ignored), and it sleeps in between.
package pause

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// base is the address that the file is loaded at, as a whole and read-only.
const base = 0x400000

const (
	headerSize = 64 + 56 // ELF header and one program header
	actionSize = 32      // the kernel's struct sigaction
	sigint     = 2
	sigterm    = 15
	sigchld    = 17
	saRestorer = 0x04000000
	sigIgnore  = 1
)

// machine is what differs between processors.
type machine struct {
	elf  uint16
	code func(ignore, end uint64) (code []byte, handler int)
}

var machines = map[string]machine{
	"amd64": {elf: 62, code: amd64},
	"arm64": {elf: 183, code: arm64},
}

// Program returns the executable for a processor, named as in GOARCH.
func Program(arch string) ([]byte, error) {
	m, ok := machines[arch]
	if !ok {
		return nil, fmt.Errorf("no pause program for processor %q", arch)
	}
	// The two sigactions lie between headers and code, so their addresses do not depend on the code.
	ignore, end := uint64(base+headerSize), uint64(base+headerSize+actionSize)
	start := uint64(base + headerSize + 2*actionSize)
	code, handler := m.code(ignore, end)

	var b bytes.Buffer
	size := uint64(headerSize + 2*actionSize + len(code))
	writeHeaders(&b, m.elf, start, size)
	writeAction(&b, sigIgnore, start)
	writeAction(&b, start+uint64(handler), start)
	b.Write(code)
	return b.Bytes(), nil
}

func write(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		// Writing fixed-size values to a buffer cannot fail.
		_ = binary.Write(b, binary.LittleEndian, v)
	}
}

func writeHeaders(b *bytes.Buffer, machine uint16, start, size uint64) {
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	const executable, loadable, readExecute = uint16(2), uint32(1), uint32(5)
	write(b, executable, machine, uint32(1), start, uint64(64), uint64(0), uint32(0), uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0))
	write(b, loadable, readExecute, uint64(0), uint64(base), uint64(base), size, size, uint64(0x10000))
}

// writeAction writes a struct sigaction. The restorer is never returned to (the handler ends the program), but
// without one the kernel refuses to deliver the signal.
func writeAction(b *bytes.Buffer, handler, restorer uint64) {
	write(b, handler, uint64(saRestorer), restorer, uint64(0))
}
