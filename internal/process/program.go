package process

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseProgram unmaps the pages of the program's own file that only the start needed. What is needed again comes back
// from the page cache at the cost of a minor fault. A start runs the initialisation of everything that is linked, tens of
// megabytes of it, which would stay with the process for as long as it lives.
func releaseProgram() {
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
		if start, end, ok := ofProgram(lines.Text(), self); ok {
			// Advice that is not taken changes nothing.
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED)
		}
	}
}

// ofProgram tells whether a line of /proc/self/maps is a part of the program that is never written to: of anything else
// the pages must stay.
func ofProgram(line, program string) (start, end uintptr, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 || fields[5] != program || len(fields[1]) != 4 || fields[1][1] != '-' || fields[1][3] != 'p' {
		return 0, 0, false
	}
	from, to, _ := strings.Cut(fields[0], "-")
	a, err1 := strconv.ParseUint(from, 16, 64)
	b, err2 := strconv.ParseUint(to, 16, 64)
	return uintptr(a), uintptr(b), err1 == nil && err2 == nil && a < b
}
