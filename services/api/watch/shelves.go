package watch

// shelves files a collection's watchers under the term that each demands, so that a change is shown only to those that
// it can concern. All methods need Collection.mu.
type shelves struct {
	byTerm map[term][]*Watcher
	kinds  [termKinds]int // how many watchers are filed under terms of each kind
}

// add files a watcher.
func (s *shelves) add(w *Watcher) {
	if s.byTerm == nil {
		s.byTerm = map[term][]*Watcher{}
	}
	s.byTerm[w.term] = append(s.byTerm[w.term], w)
	w.slot = len(s.byTerm[w.term])
	s.kinds[w.term.kind]++
}

// remove takes a watcher out; it may be out already.
func (s *shelves) remove(w *Watcher) {
	if w.slot == 0 {
		return
	}
	shelf := s.byTerm[w.term]
	last := len(shelf) - 1
	shelf[w.slot-1], shelf[last].slot = shelf[last], w.slot
	shelf[last] = nil
	if s.byTerm[w.term] = shelf[:last]; last == 0 {
		delete(s.byTerm, w.term)
	}
	w.slot = 0
	s.kinds[w.term.kind]--
}

// endAll ends every watcher with the error.
func (s *shelves) endAll(err error) {
	for _, shelf := range s.byTerm {
		for _, w := range shelf {
			w.slot = 0
			w.end(err)
		}
	}
	*s = shelves{}
}

// tell wakes the watchers that a change concerns and that have come to the end of the history. The others find it on
// their way.
func (s *shelves) tell(ch *change, seq uint64, x *index) {
	if len(s.byTerm) == 0 {
		return
	}
	s.tellShelf(term{kind: termAll}, ch, seq)
	s.tellShelf(term{kind: termNamespace, value: ch.entry.Namespace}, ch, seq)
	s.tellShelf(term{kind: termObject, value: ch.entry.Key}, ch, seq)
	if s.kinds[termLabel]+s.kinds[termField] == 0 {
		return
	}
	x.terms(ch.entry, func(t term) { s.tellShelf(t, ch, seq) })
	if ch.prev != nil && !ch.deleted {
		x.terms(ch.prev, func(t term) {
			if !ch.entry.satisfies(t) {
				s.tellShelf(t, ch, seq)
			}
		})
	}
}

func (s *shelves) tellShelf(t term, ch *change, seq uint64) {
	if s.kinds[t.kind] == 0 {
		return
	}
	for _, w := range s.byTerm[t] {
		if w.idle && w.concerns(ch) {
			w.idle, w.next = false, seq
			w.signal()
		}
	}
}
