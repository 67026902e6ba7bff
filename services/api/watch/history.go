package watch

import (
	"sort"
	"sync/atomic"
	"time"
)

// change is one change of one object.
type change struct {
	// entry is the new state; of a deletion, the last state with the revision of the deletion.
	entry   *Entry
	prev    *Entry // nil: the object is new
	deleted bool
	at      int64 // Unix seconds

	left atomic.Pointer[Entry]
}

// leaving returns what a watcher is told whose predicate the object has left: the state before, as of this change.
func (c *change) leaving() *Entry {
	if c.deleted {
		return c.entry
	}
	if e := c.left.Load(); e != nil {
		return e
	}
	c.left.CompareAndSwap(nil, c.prev.at(c.entry.Revision))
	return c.left.Load()
}

// changeOverhead is about what a change costs besides the value that it keeps from being freed.
const changeOverhead = 256

func (c *change) bytes() int {
	if c.prev == nil {
		return changeOverhead
	}
	return changeOverhead + len(c.prev.Value)
}

// history holds the newest changes of a collection, in order, each under a sequence number: watchers read them there,
// each from its own place.
type history struct {
	ring  []*change // len is a power of two
	first uint64    // of the oldest change
	next  uint64    // of the change to come
	bytes int
	// floor: every change after this revision is here.
	floor int64

	maxEvents, maxBytes int
}

const (
	historyStart = 64
	// historyAge is how long changes are kept when there are many of them (more than a quietShare of the bound).
	historyAge = 5 * time.Minute
	quietShare = 16
	// encodedAge is how many changes ago watchers that keep up have seen a change: what it replaced is not kept
	// encoded any longer than that.
	encodedAge = 1024
)

func (h *history) at(seq uint64) *change { return h.ring[seq&uint64(len(h.ring)-1)] }

func (h *history) len() int { return int(h.next - h.first) }

// append adds a change and returns its number, and calls dropped with the changes that had to go, and before that with
// each when it has become old.
func (h *history) append(c *change, dropped func(*change)) uint64 {
	for h.len() > 0 && (h.len() >= h.maxEvents || h.bytes+c.bytes() > h.maxBytes) {
		h.dropOldest(dropped)
	}
	if h.len() == len(h.ring) {
		h.resize(max(historyStart, 2*len(h.ring)))
	}
	seq := h.next
	h.ring[seq&uint64(len(h.ring)-1)] = c
	h.next++
	h.bytes += c.bytes()
	if h.len() > encodedAge {
		dropped(h.at(seq - encodedAge))
	}
	return seq
}

func (h *history) dropOldest(dropped func(*change)) {
	c := h.at(h.first)
	h.ring[h.first&uint64(len(h.ring)-1)] = nil
	h.first++
	h.bytes -= c.bytes()
	h.floor = c.entry.Revision
	dropped(c)
}

func (h *history) resize(n int) {
	ring := make([]*change, n)
	for seq := h.first; seq < h.next; seq++ {
		ring[seq&uint64(n-1)] = h.at(seq)
	}
	h.ring = ring
}

// expire drops what is too old, unless that is little, and gives memory back.
func (h *history) expire(now time.Time, dropped func(*change)) {
	before := now.Add(-historyAge).Unix()
	for h.len() > 0 && h.bytes > h.maxBytes/quietShare && h.at(h.first).at < before {
		h.dropOldest(dropped)
	}
	if n := len(h.ring); n > historyStart && h.len() < n/4 {
		h.resize(n / 2)
	}
}

// after returns the number of the first change above a revision.
func (h *history) after(revision int64) uint64 {
	return h.first + uint64(sort.Search(h.len(), func(i int) bool { return h.at(h.first+uint64(i)).entry.Revision > revision }))
}

// reset forgets everything; history begins after the revision.
func (h *history) reset(floor int64) {
	h.ring, h.bytes, h.floor = nil, 0, floor
	h.first = h.next
}
