package process

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseFiles gives back the pages of files that the process has mapped and did not need lately.
//
// Those of the program's own file only the start needed: it runs the initialisation of everything that is linked, tens of
// megabytes of it. They are unmapped, and come back from the page cache at the cost of a minor fault.
//
// A store's file is mapped as a whole, and after a burst most of it stays resident. It may be mapped anew at any time, so the
// advice must be one that is harmless wherever it hits: the kernel may write such pages back and read them again.
func releaseFiles() {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		if start, end, advice, ok := release(lines.Text(), self); ok {
			// Advice that is not taken changes nothing.
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, start, end-start, advice)
		}
	}
}

// release tells what to advise about a line of /proc/self/maps: a part of the program that is never written to, or a file
// that is shared and only read. Of anything else the pages must stay.
func release(line, program string) (start, end, advice uintptr, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 || !strings.HasPrefix(fields[5], "/") || len(fields[1]) != 4 || fields[1][1] != '-' {
		return 0, 0, 0, false
	}
	switch {
	case fields[1][3] == 's':
		advice = unix.MADV_PAGEOUT
	case fields[5] == program:
		advice = unix.MADV_DONTNEED
	default:
		return 0, 0, 0, false
	}
	from, to, _ := strings.Cut(fields[0], "-")
	a, err1 := strconv.ParseUint(from, 16, 64)
	b, err2 := strconv.ParseUint(to, 16, 64)
	return uintptr(a), uintptr(b), advice, err1 == nil && err2 == nil && a < b
}
