package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"
)

// tries bounds how often the files are opened again because the log was turned over meanwhile.
const tries = 10

// chain opens the files of a log, the oldest first; with after only those that have come after it. A log that is turned over
// gives each of its files the next one's name, one after the other.
func chain(path string, after os.FileInfo) (files []*os.File, err error) {
	for range tries {
		files, err = open(path, after)
		if err != nil || len(files) == 0 {
			return nil, err
		}
		newest, err := os.Stat(path)
		last, lastErr := files[len(files)-1].Stat()
		if err != nil || lastErr != nil || os.SameFile(newest, last) {
			break
		}
		closeAll(files)
	}
	return files, err
}

func open(path string, after os.FileInfo) (files []*os.File, err error) {
	var seen []os.FileInfo
	for i, missing := 0, 0; missing < 2; i++ { // one name may be free for a moment
		name := path
		if i > 0 {
			name += "." + strconv.Itoa(i)
		}
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			missing++
			continue
		}
		if err != nil {
			closeAll(files)
			return nil, err
		}
		missing = 0
		info, err := f.Stat()
		if err != nil {
			closeAll(append(files, f))
			return nil, err
		}
		same := func(other os.FileInfo) bool { return os.SameFile(info, other) }
		switch {
		case after != nil && same(after):
			missing = 2
			_ = f.Close()
		case slices.ContainsFunc(seen, same): // it has got another name
			_ = f.Close()
		default:
			files, seen = append(files, f), append(seen, info)
		}
	}
	slices.Reverse(files)
	return files, nil
}

// since leaves out the files that were written to the last time before. The newest one stays.
func since(files []*os.File, begin time.Time) []*os.File {
	for len(files) > 1 {
		info, err := files[0].Stat()
		if err != nil || !info.ModTime().Before(begin) {
			break
		}
		_ = files[0].Close()
		files = files[1:]
	}
	return files
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// skipTo leaves the last lines to be read.
func (r *reader) skipTo(tail int64) error {
	for i := len(r.files) - 1; i >= 0; i-- {
		end, err := size(r.files[i])
		if err != nil {
			return err
		}
		if i == len(r.files)-1 && r.end >= 0 {
			end = r.end
		}
		from, found, err := lastLines(r.files[i], end, tail)
		if err != nil {
			return err
		}
		if tail -= found; tail > 0 {
			continue
		}
		if _, err := r.files[i].Seek(from, io.SeekStart); err != nil {
			return err
		}
		closeAll(r.files[:i])
		r.files = r.files[i:]
		return nil
	}
	return nil
}

func size(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("read the log: %w", err)
	}
	return info.Size(), nil
}

// lastLines returns where the last lines before the end of a file begin and how many there are, if it has less.
func lastLines(f *os.File, end, want int64) (from, found int64, err error) {
	found = -1 // the last line's end is no line's beginning
	block := make([]byte, 32<<10)
	for end > 0 {
		n := min(end, int64(len(block)))
		if _, err := f.ReadAt(block[:n], end-n); err != nil {
			return 0, 0, err
		}
		for at := bytes.LastIndexByte(block[:n], '\n'); at >= 0; at = bytes.LastIndexByte(block[:at], '\n') {
			if found++; found == want {
				return end - n + int64(at) + 1, found, nil
			}
		}
		end -= n
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, 0, err
	}
	return 0, max(found+1, 0), nil
}
