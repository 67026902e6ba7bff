package quota

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"karve.dev/karve/services/api/store"
)

// Bounds of one commit of a line.
const (
	lineOps     = 100
	lineBytes   = 512 << 10
	lineTimeout = 10 * time.Second
)

// line is where the writes of one namespace wait. All of it is guarded by Ledger.mu but for known, which belongs to who
// leads.
type line struct {
	// busy: somebody leads.
	busy    bool
	waiting []*entry
	// known are the quotas as the last commit left them, by name: the cache hears of that a moment later.
	known map[string]*booked
}

// entry is one write in a line, or the wish that a quota be measured anew.
type entry struct {
	write *Write
	ops   []store.Op
	// dry: the write only wants to know whether it would be refused.
	dry bool
	// measure is the name of the quota; empty for a write. again is when its usage changes by time alone.
	measure string
	again   time.Time
	// turn wakes who waits: with the result, or to lead.
	turn     chan struct{}
	done     bool
	revision int64
	err      error
}

func (e *entry) finish(revision int64, err error) { e.done, e.revision, e.err = true, revision, err }

// enqueue waits until an entry is settled. Whoever finds the line free leads: he commits for all who wait by then,
// himself among them, and passes the lead on.
func (l *Ledger) enqueue(ctx context.Context, namespace string, e *entry) error {
	e.turn = make(chan struct{}, 1)
	l.mu.Lock()
	ln := l.lines[namespace]
	if ln == nil {
		ln = &line{}
		l.lines[namespace] = ln
	}
	ln.waiting = append(ln.waiting, e)
	leads := !ln.busy
	ln.busy = true
	l.mu.Unlock()
	if !leads {
		select {
		case <-e.turn:
		case <-ctx.Done():
			if l.withdraw(ln, e) {
				return ctx.Err()
			}
			// It is part of a commit, or was just made the leader.
			<-e.turn
		}
		if e.done {
			return e.err
		}
	}
	l.lead(ctx, ln, namespace)
	return e.err
}

// withdraw takes an entry out of the line; false when it is too late for that.
func (l *Ledger) withdraw(ln *line, e *entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, other := range ln.waiting {
		// The first is the next leader, and may have been told so.
		if other == e && i > 0 {
			ln.waiting = append(ln.waiting[:i], ln.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// lead commits for those at the head of the line and wakes them, and whoever leads next. The caller is the first.
func (l *Ledger) lead(ctx context.Context, ln *line, namespace string) {
	batch := l.take(ln)
	if ctx.Err() != nil {
		batch[0].finish(0, ctx.Err())
	}
	// The others' writes do not end with the leader's call.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lineTimeout)
	defer cancel()
	defer context.AfterFunc(l.life, cancel)()
	l.settleAll(ctx, ln, namespace, batch)
	l.mu.Lock()
	var next *entry
	if len(ln.waiting) > 0 {
		next = ln.waiting[0]
	} else {
		ln.busy = false
	}
	l.mu.Unlock()
	for _, e := range batch[1:] {
		e.turn <- struct{}{}
	}
	if next != nil {
		next.turn <- struct{}{}
	}
}

// settleAll is settle for which a panic is an error of every entry: the line goes on.
func (l *Ledger) settleAll(ctx context.Context, ln *line, namespace string, batch []*entry) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		l.log.Error("panic", zap.String("namespace", namespace), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		for _, e := range batch {
			if !e.done {
				e.finish(0, errors.New("quotas: the commit panicked"))
			}
		}
	}()
	l.settle(ctx, ln, namespace, batch)
}

// take removes from the head of the line what fits into one commit; no two of them may touch the same key.
func (l *Ledger) take(ln *line) (batch []*entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	keys := map[string]bool{}
	ops, size := 0, 0
	for len(ln.waiting) > 0 {
		e := ln.waiting[0]
		clash, bytes := false, 0
		for _, op := range e.ops {
			clash = clash || keys[op.Key]
			bytes += len(op.Value)
		}
		if len(batch) > 0 && (clash || ops+len(e.ops) > lineOps || size+bytes > lineBytes) {
			break
		}
		for _, op := range e.ops {
			keys[op.Key] = true
		}
		ops, size = ops+len(e.ops), size+bytes
		batch = append(batch, e)
		ln.waiting = ln.waiting[1:]
	}
	if len(ln.waiting) == 0 {
		ln.waiting = nil
	}
	return batch
}
