package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// number reads a file that holds one number; "max" and what is missing are 0.
func number(dir, file string) int64 {
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// table reads a file of "name number" lines.
func table(dir, file string) (map[string]int64, error) {
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil, err
	}
	out := make(map[string]int64, 40)
	for line := range strings.SplitSeq(string(text), "\n") {
		name, value, ok := strings.Cut(line, " ")
		if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); ok && err == nil {
			out[name] = n
		}
	}
	return out, nil
}

// sums adds up a file of lines like "8:0 Read 4096" (version 1) or "8:0 rbytes=4096 wbytes=0" (version 2) over all
// devices, by the name of the figure.
func sums(dir, file string) map[string]int64 {
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil
	}
	out := map[string]int64{}
	for line := range strings.SplitSeq(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 3 && !strings.Contains(fields[1], "=") {
			n, _ := strconv.ParseInt(fields[2], 10, 64)
			out[fields[1]] += n
			continue
		}
		for _, f := range fields[min(1, len(fields)):] {
			name, value, _ := strings.Cut(f, "=")
			n, _ := strconv.ParseInt(value, 10, 64)
			out[name] += n
		}
	}
	return out
}

// bound is a limit as Usage has it: what no machine has is none. The first version writes the largest number of pages.
func bound(n int64) int64 {
	if n < 0 || n >= 1<<62 {
		return 0
	}
	return n
}
