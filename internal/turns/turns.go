// Package turns gives a goroutine only to those who have something to do, and only for as long: what is quiet holds no
// stack and no timer. A node that pretends has dozens of parts, nearly all of them quiet, and there are thousands of nodes.
package turns

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Group runs what is begun in it until its context ends. The zero Group is ready; what is begun before Begin waits for it.
type Group struct {
	mu    sync.Mutex
	ctx   context.Context
	early []func(context.Context)
	ended bool
	all   sync.WaitGroup
}

// Begin lets everything run until ctx ends. It is called once.
func (g *Group) Begin(ctx context.Context) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ctx = ctx
	for _, run := range g.early {
		g.start(run)
	}
	g.early = nil
}

// Context is that of Begin: of what runs in the group, none outlives it.
func (g *Group) Context() context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ctx
}

// Go runs something in a goroutine of its own, which Wait waits for; false when it is too late for that.
func (g *Group) Go(run func(ctx context.Context)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.ended:
		return false
	case g.ctx == nil:
		g.early = append(g.early, run)
	default:
		g.start(run)
	}
	return true
}

func (g *Group) start(run func(ctx context.Context)) {
	g.all.Go(func() { run(g.ctx) })
}

// Wait returns when the context has ended, and everything that was begun, too.
func (g *Group) Wait() {
	<-g.ctx.Done()
	g.mu.Lock()
	g.ended = true
	g.mu.Unlock()
	g.all.Wait()
}

// Retrying makes a turn of something that may fail: then it is tried again after a pause, which grows from first to long,
// and not sooner however often the task is woken.
func Retrying(first, long time.Duration, try func(ctx context.Context) error) func(ctx context.Context) time.Time {
	wait, retryAt := first, time.Time{}
	return func(ctx context.Context) time.Time {
		if time.Now().Before(retryAt) {
			return retryAt
		}
		if try(ctx) == nil {
			wait, retryAt = first, time.Time{}
			return retryAt
		}
		retryAt = time.Now().Add(wait)
		wait = min(2*wait, long)
		return retryAt
	}
}

// The states of a task.
const (
	asleep int32 = iota // until Start: its first turn looks at everything anyway
	idle
	busy
	again // busy, and woken meanwhile
)

// Task is work that is done in turns, one at a time. Its methods never block and are safe for concurrent use.
type Task struct {
	group *Group
	turn  func(ctx context.Context) (next time.Time)
	state atomic.Int32
	alarm *time.Timer // of whoever has the turn
}

// Init says what a turn does, and in which group. The turn returns when the next one is due if nobody wakes the task before;
// the zero time for never.
func (t *Task) Init(group *Group, turn func(ctx context.Context) (next time.Time)) {
	t.group, t.turn = group, turn
}

// Start lets the task have its first turn. Once is enough.
func (t *Task) Start() {
	if t.state.CompareAndSwap(asleep, busy) {
		t.group.Go(t.work)
	}
}

// Started tells whether Start has been called.
func (t *Task) Started() bool { return t.state.Load() != asleep }

// Woken tells, in a turn, whether there will be another for what has come meanwhile.
func (t *Task) Woken() bool { return t.state.Load() == again }

// Wake has the task take a turn that begins after this call, unless it has not been started or its group has ended.
func (t *Task) Wake() {
	for {
		switch state := t.state.Load(); {
		case state == asleep, state == again:
			return
		case state == busy && t.state.CompareAndSwap(busy, again):
			return
		case state == idle && t.state.CompareAndSwap(idle, busy):
			t.group.Go(t.work)
			return
		}
	}
}

// work takes turns until there is nothing to do.
func (t *Task) work(ctx context.Context) {
	if t.alarm != nil {
		t.alarm.Stop()
	}
	for ctx.Err() == nil {
		next := t.turn(ctx)
		t.setAlarm(next)
		if t.state.CompareAndSwap(busy, idle) {
			return
		}
		t.state.Store(busy)
	}
	t.setAlarm(time.Time{})
}

func (t *Task) setAlarm(at time.Time) {
	switch wait := time.Until(at); {
	case at.IsZero() && t.alarm != nil:
		t.alarm.Stop()
		t.alarm = nil
	case at.IsZero():
	case t.alarm == nil:
		t.alarm = time.AfterFunc(wait, t.Wake)
	default:
		t.alarm.Reset(wait)
	}
}
