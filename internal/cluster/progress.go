package cluster

import (
	"bufio"
	"encoding/json"
	"io"
	"sync"
)

// ProgressFD is the file descriptor on which the CLI listens to the daemon that it starts.
const ProgressFD = 3

// Step is one thing that the daemon tells about its start, a line of JSON each.
type Step struct {
	// Name is what has been done: "etcd", "API service", …
	Name string `json:"name,omitempty"`
	// Milliseconds since the daemon's start.
	Milliseconds int64 `json:"ms,omitempty"`
	// Ready says that the cluster is up: nothing more follows.
	Ready bool `json:"ready,omitempty"`
	// Error says why it is not, in words for the person who started it.
	Error string `json:"error,omitempty"`
}

// Progress tells steps to whoever started the daemon; with a nil writer it tells nobody. Safe for concurrent use.
type Progress struct {
	mu sync.Mutex
	w  io.WriteCloser
}

// NewProgress returns a Progress that writes to w, which may be nil.
func NewProgress(w io.WriteCloser) *Progress { return &Progress{w: w} }

// Tell writes one step. A reader that has gone away is no reason to stop. After Ready or an Error it closes the writer.
func (p *Progress) Tell(s Step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w == nil {
		return
	}
	line, err := json.Marshal(s)
	if err == nil {
		_, err = p.w.Write(append(line, '\n'))
	}
	if err != nil || s.Ready || s.Error != "" {
		_ = p.w.Close()
		p.w = nil
	}
}

// ReadSteps calls fn for each step until r ends.
func ReadSteps(r io.Reader, fn func(Step)) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var s Step
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return err
		}
		fn(s)
	}
	return lines.Err()
}
