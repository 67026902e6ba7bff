package logfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"karve.dev/karve/agents/node/runtime"
)

// stamp is how times are written before lines.
const stamp = "2006-01-02T15:04:05.000000000Z07:00 "

// record is one line of a log file. A long line of the container's is several, of which only the last ends it.
type record struct {
	Log    string    `json:"log"`
	Stream string    `json:"stream"`
	Time   time.Time `json:"time"`
}

// lines writes what records say.
type lines struct {
	opts runtime.LogOptions
	out  map[string]*output
	// pending is what is to be written to one of the outputs, so that not every line is sent by itself.
	pending bytes.Buffer
	to      *output
	some    bool
}

// output is where a stream of the container's goes.
type output struct {
	io.Writer
	// midway is true within a line.
	midway bool
}

func newLines(opts runtime.LogOptions, stdout, stderr io.Writer) *lines {
	l := &lines{opts: opts, out: map[string]*output{}}
	for name, w := range map[string]io.Writer{"stdout": stdout, "stderr": stderr} {
		if w != nil {
			l.out[name] = &output{Writer: w}
		}
	}
	return l
}

// took says whether there was something since it was asked last.
func (l *lines) took() bool {
	some := l.some
	l.some = false
	return some
}

// take writes the whole records at the beginning of data and returns how much that was.
func (l *lines) take(data []byte) (used int, err error) {
	l.some = true
	for {
		n := bytes.IndexByte(data[used:], '\n')
		if n < 0 {
			return used, l.flush()
		}
		if err := l.line(data[used : used+n]); err != nil {
			return used, err
		}
		used += n + 1
	}
}

func (l *lines) line(data []byte) error {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil //nolint:nilerr // a full disk or a crash has left half a line
	}
	to := l.out[r.Stream]
	if to == nil || r.Time.Before(l.opts.Since) {
		return nil
	}
	if l.to != nil && l.to.Writer != to.Writer {
		if err := l.flush(); err != nil {
			return err
		}
	}
	l.to = to
	if l.opts.Timestamps && !to.midway {
		l.pending.Write(r.Time.UTC().AppendFormat(l.pending.AvailableBuffer(), stamp))
	}
	to.midway = len(r.Log) > 0 && r.Log[len(r.Log)-1] != '\n'
	l.pending.WriteString(r.Log)
	return nil
}

func (l *lines) flush() error {
	if l.pending.Len() == 0 {
		return nil
	}
	defer l.pending.Reset()
	if _, err := l.to.Write(l.pending.Bytes()); err != nil {
		return fmt.Errorf("copy the log: %w", err)
	}
	return nil
}
