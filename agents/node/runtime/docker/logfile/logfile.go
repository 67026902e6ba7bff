// Package logfile reads the logs that the engine's json-file driver writes. The engine would read them too, but when it follows a
// log that is turned over meanwhile it loses lines, and tells others twice.
package logfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"karve.dev/karve/agents/node/runtime"
)

// ErrNone means that there is no log here that could be read: it is on another machine, or of another driver.
var ErrNone = errors.New("there is no log file")

// How soon a log that is followed is looked at again: soon after it has grown, less often later. A log is turned over at
// some megabytes, so it is not missed.
const (
	shortPause = 10 * time.Millisecond
	longPause  = 100 * time.Millisecond
)

// Copy writes what a log holds to stdout and stderr, either of which may be nil: the files that it has been turned over to,
// then the newest, at path. With Follow it goes on until ended is closed and everything is told.
func Copy(ctx context.Context, path string, opts runtime.LogOptions, ended <-chan struct{}, stdout, stderr io.Writer) error {
	files, err := chain(path, nil)
	if errors.Is(err, os.ErrPermission) || err == nil && len(files) == 0 {
		return ErrNone
	}
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	if opts.Tail < 0 {
		files = since(files, opts.Since)
	}
	r := &reader{path: path, files: files, lines: newLines(opts, stdout, stderr), buf: make([]byte, 32<<10), end: -1}
	defer r.close()
	if !opts.Follow {
		if r.end, err = size(files[len(files)-1]); err != nil {
			return err
		}
	}
	if opts.Tail >= 0 {
		if err := r.skipTo(opts.Tail); err != nil {
			return err
		}
	}
	if opts.Follow {
		return r.follow(ctx, ended)
	}
	return r.rest(ctx)
}

// reader reads the files of one log, the oldest first.
type reader struct {
	path  string
	files []*os.File
	lines *lines
	buf   []byte
	// kept is how much of buf is the beginning of a line.
	kept int
	// end is where the newest file ended at first, for who does not follow it: what grows faster than it is read would have no
	// end otherwise. Negative: no matter where.
	end int64
}

func (r *reader) close() {
	for _, f := range r.files {
		_ = f.Close()
	}
}

// rest reads all files to their ends.
func (r *reader) rest(ctx context.Context) error {
	for {
		if err := r.drain(ctx); err != nil {
			return err
		}
		if len(r.files) == 1 {
			return nil
		}
		r.next()
	}
}

func (r *reader) next() {
	_ = r.files[0].Close()
	r.files, r.kept = r.files[1:], 0
}

// follow reads on as the log grows.
func (r *reader) follow(ctx context.Context, ended <-chan struct{}) error {
	wait := shortPause
	for {
		over := isClosed(ended) // asked before the log is read: then there is no more
		if err := r.rest(ctx); err != nil {
			return err
		}
		grown, err := r.turnedOver()
		switch {
		case err != nil:
			return err
		case grown:
			// What was the newest file is complete now, but may have grown since it was read.
			wait = shortPause
			continue
		case over:
			return nil
		case r.lines.took():
			wait = shortPause
		}
		if !pause(ctx, ended, wait) {
			return ctx.Err()
		}
		wait = min(2*wait, longPause)
	}
}

// turnedOver adds the files that have come after the one that was the newest.
func (r *reader) turnedOver() (bool, error) {
	file := r.files[len(r.files)-1]
	last, err := file.Stat()
	if err != nil {
		return false, err
	}
	if at, err := file.Seek(0, io.SeekCurrent); err == nil && at > last.Size() {
		r.kept = 0 // somebody has emptied it: it begins anew
		_, err = file.Seek(0, io.SeekStart)
		return true, err
	}
	newest, err := os.Stat(r.path)
	if err != nil || os.SameFile(last, newest) {
		return false, nil //nolint:nilerr // it is being turned over, or removed
	}
	newer, err := chain(r.path, last)
	r.files = append(r.files, newer...)
	return len(newer) > 0, err
}

// drain reads the first file to its end.
func (r *reader) drain(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		room, err := r.room()
		if err != nil || len(room) == 0 {
			return err
		}
		n, err := r.files[0].Read(room)
		if n == 0 && (err == nil || errors.Is(err, io.EOF)) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		used, err := r.lines.take(r.buf[:r.kept+n])
		if err != nil {
			return err
		}
		if r.kept = copy(r.buf, r.buf[used:r.kept+n]); r.kept == len(r.buf) {
			r.buf = append(r.buf, make([]byte, len(r.buf))...) // a line is as long as the engine makes it: some 100 kB
		}
	}
}

// room is what may be read into next.
func (r *reader) room() ([]byte, error) {
	room := r.buf[r.kept:]
	if r.end < 0 || len(r.files) > 1 {
		return room, nil
	}
	at, err := r.files[0].Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	return room[:max(0, min(int64(len(room)), r.end-at))], nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// pause waits, or until the log has ended; false when ctx has.
func pause(ctx context.Context, ended <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ended:
	case <-ctx.Done():
		return false
	}
	return true
}
