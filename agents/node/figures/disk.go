package figures

import (
	"context"
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Space is what a folder takes on its disk.
type Space struct {
	Bytes, Inodes int64
	// At is when it was measured; zero: not yet.
	At time.Time
}

const (
	// stale is how old a measurement may be, if it took no time; it may be the older the longer it took.
	stale    = time.Minute
	thrift   = 20
	tooLong  = 5 * time.Second
	mostDirs = 4096
)

// walks remembers how large folders were.
type walks struct {
	mu    sync.Mutex
	known map[string]walk
}

type walk struct {
	space Space
	took  time.Duration
}

// space measures a folder, unless that was done a moment ago. One that is too large to be measured in the time that
// there is keeps its last figure.
func (w *walks) space(ctx context.Context, dir string) Space {
	w.mu.Lock()
	last, ok := w.known[dir]
	w.mu.Unlock()
	if ok && time.Since(last.space.At) < max(stale, thrift*last.took) {
		return last.space
	}
	ctx, cancel := context.WithTimeout(ctx, tooLong)
	defer cancel()
	began := time.Now()
	space, err := measure(ctx, dir)
	next := walk{space, time.Since(began)}
	if err != nil {
		next.space = last.space
		next.space.At = began // do not try again at once
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.known) >= mostDirs {
		clear(w.known)
	}
	w.known[dir] = next
	return next.space
}

// measure adds up what a folder and all below it take, as du does: blocks, not lengths, and a file with several names
// only once. Other file systems that are mounted below do not count.
func measure(ctx context.Context, dir string) (Space, error) {
	out := Space{At: time.Now()}
	var device uint64
	linked := map[uint64]bool{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return nil //nolint:nilerr // gone meanwhile
		}
		info, err := entry.Info()
		if err != nil {
			return nil //nolint:nilerr // gone meanwhile
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		switch {
		case !ok:
			return nil
		case path == dir:
			device = st.Dev
		case st.Dev != device:
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case st.Nlink > 1 && !entry.IsDir():
			if linked[st.Ino] {
				return nil
			}
			linked[st.Ino] = true
		}
		out.Bytes += st.Blocks * 512
		out.Inodes++
		return nil
	})
	return out, err
}
