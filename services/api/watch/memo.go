package watch

import (
	"math/rand/v2"
	"sync"
)

// Form names one encoding and shape of an object ("json", "json/table/Metadata", "proto event ADDED"): whatever the
// caller wants to keep apart. Use constants.
type Form string

// Encoded returns what encode makes of the entry in that form, made once and shared by all who ask while it is kept
// (Config.MemoBytes). The result must not be changed. Callers that ask first at the same time may each make it; they
// all get one of the results. encode must depend on nothing but the entry and the form; errors are not kept.
func (e *Entry) Encoded(form Form, encode func(e *Entry) ([]byte, error)) ([]byte, error) {
	if data, ok := e.memo.Load().find(form); ok {
		return data, nil
	}
	data, err := encode(e)
	if err != nil || e.pool == nil {
		return data, err
	}
	return e.pool.keep(e, form, data), nil
}

// Knows reports whether the entry's form is kept at the moment.
func (e *Entry) Knows(form Form) bool {
	_, ok := e.memo.Load().find(form)
	return ok
}

// memo is one form that is kept; an entry has a list of them.
type memo struct {
	form Form
	data []byte
	next *memo
}

// memoOverhead is about what a kept form costs besides its bytes.
const memoOverhead = 80

func (m *memo) find(form Form) ([]byte, bool) {
	for ; m != nil; m = m.next {
		if m.form == form {
			return m.data, true
		}
	}
	return nil, false
}

func (m *memo) bytes() (n int) {
	for ; m != nil; m = m.next {
		n += cap(m.data) + memoOverhead
	}
	return n
}

// memoPool bounds what all entries keep. When it is full it forgets entries by chance: a reader who goes through more
// than fits, again and again, then still finds a part of it, where forgetting the oldest would find nothing.
type memoPool struct {
	mu      sync.Mutex
	limit   int
	used    int
	entries []*Entry
}

// keep keeps a form of an entry, and returns what is kept already if another was first.
func (p *memoPool) keep(e *Entry, form Form, data []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if first, ok := e.memo.Load().find(form); ok {
		return first
	}
	m := &memo{form: form, data: data, next: e.memo.Load()}
	e.memo.Store(m)
	p.used += cap(data) + memoOverhead
	if e.slot == 0 {
		p.entries = append(p.entries, e)
		e.slot = len(p.entries)
	}
	for p.used > p.limit {
		p.remove(p.entries[rand.IntN(len(p.entries))])
	}
	return data
}

// forget drops what an entry keeps when nobody will ask for it again.
func (p *memoPool) forget(e *Entry) {
	if e.memo.Load() == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.slot > 0 {
		p.remove(e)
	}
}

func (p *memoPool) remove(e *Entry) {
	p.used -= e.memo.Load().bytes()
	e.memo.Store(nil)
	last := len(p.entries) - 1
	moved := p.entries[last]
	p.entries[e.slot-1], moved.slot = moved, e.slot
	p.entries[last] = nil
	p.entries = p.entries[:last]
	e.slot = 0
}
