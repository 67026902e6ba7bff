package turns_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/internal/turns"
)

func TestTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var group turns.Group
		var task turns.Task
		var took, next atomic.Int64
		task.Init(&group, func(context.Context) time.Time {
			took.Add(1)
			if wait := time.Duration(next.Load()); wait > 0 {
				return time.Now().Add(wait)
			}
			return time.Time{}
		})
		turnsAre := func(want int64, when string) {
			t.Helper()
			synctest.Wait()
			require.Equal(t, want, took.Load(), when)
		}
		task.Wake()
		task.Start()
		turnsAre(0, "before the group begins")
		ctx, cancel := context.WithCancel(t.Context())
		group.Begin(ctx)
		turnsAre(1, "once it has begun")
		time.Sleep(time.Hour)
		turnsAre(1, "without a reason")
		next.Store(int64(time.Minute))
		task.Wake()
		turnsAre(2, "when woken")
		time.Sleep(time.Minute)
		turnsAre(3, "when the time has come")
		next.Store(0)
		task.Wake()
		turnsAre(4, "when woken before the time")
		time.Sleep(time.Hour)
		turnsAre(4, "after an alarm that was taken back")
		cancel()
		group.Wait()
		task.Wake()
		turnsAre(4, "after the end")
		require.False(t, group.Go(func(context.Context) {}))
	})
}

// TestNoWakeIsLost lets many wake a task that counts what it has seen of theirs.
func TestNoWakeIsLost(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var group turns.Group
	var task turns.Task
	var sent, seen, inside atomic.Int64
	task.Init(&group, func(context.Context) time.Time {
		require.EqualValues(t, 1, inside.Add(1), "one turn at a time")
		seen.Store(sent.Load())
		inside.Add(-1)
		return time.Time{}
	})
	group.Begin(ctx)
	task.Start()
	var wakers sync.WaitGroup
	for range 8 {
		wakers.Go(func() {
			for range 1000 {
				sent.Add(1)
				task.Wake()
			}
		})
	}
	wakers.Wait()
	require.Eventually(t, func() bool { return seen.Load() == 8000 }, 10*time.Second, time.Millisecond)
	cancel()
	group.Wait()
}
