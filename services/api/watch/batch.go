package watch

import "sync"

// batch is room for the changes that one call of Next looks at; idle watchers have none.
type batch struct{ changes []*change }

var batches = sync.Pool{New: func() any { return &batch{changes: make([]*change, 0, batchSize)} }}

func (b *batch) release() {
	clear(b.changes)
	b.changes = b.changes[:0]
	batches.Put(b)
}
