package reconcile

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"karve.dev/karve/internal/informer"
)

var web = informer.Key{Namespace: "shop", Name: "web"}

// running runs a controller for the time of fn, on a clock that jumps.
func running(t *testing.T, workers int, r Reconciler, fn func(c *Controller)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := New("test", workers, r, zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		fn(c)
		cancel()
		require.NoError(t, <-done)
	})
}

func TestFailuresAreRetriedEverLaterUntilOneSucceeds(t *testing.T) {
	var at []time.Time
	start := func() time.Time { return at[0] }
	running(t, 2, func(context.Context, informer.Key) (time.Duration, error) {
		at = append(at, time.Now())
		switch len(at) {
		case 1, 2, 3, 4:
			return 0, errors.New("not yet")
		case 5:
			panic("odd object")
		}
		return 0, nil
	}, func(c *Controller) {
		c.Enqueue(web)
		time.Sleep(time.Hour)
	})
	require.Len(t, at, 6)
	require.Greater(t, at[5].Sub(at[4]), at[1].Sub(at[0]))
	require.Less(t, at[5].Sub(start()), time.Second)
}

func TestOneKeyIsReconciledByOneWorkerAtATimeAndNotForEveryEvent(t *testing.T) {
	var now, most, runs atomic.Int32
	running(t, 8, func(context.Context, informer.Key) (time.Duration, error) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		runs.Add(1)
		time.Sleep(10 * time.Millisecond)
		return 0, nil
	}, func(c *Controller) {
		for range 1000 {
			c.Enqueue(web)
			synctest.Wait()
		}
		time.Sleep(time.Second)
	})
	require.EqualValues(t, 1, most.Load())
	require.EqualValues(t, 2, runs.Load(), "one for the first event, one for all that came meanwhile")
}

func TestSoonIsAtOnceForALoneChangeAndInStepsForABurst(t *testing.T) {
	var at []time.Time
	running(t, 1, func(context.Context, informer.Key) (time.Duration, error) {
		at = append(at, time.Now())
		return 0, nil
	}, func(c *Controller) {
		asked := time.Now()
		c.EnqueueSoon(web, 50*time.Millisecond)
		synctest.Wait()
		require.Equal(t, asked, at[0])
		for range 200 {
			c.EnqueueSoon(web, 50*time.Millisecond)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		require.LessOrEqual(t, len(at), 8)
		c.EnqueueSoon(web, 50*time.Millisecond)
		asked = time.Now()
		synctest.Wait()
		require.Equal(t, asked, at[len(at)-1])
	})
}

func TestAfterAsksForAnotherLookAndACallIsBounded(t *testing.T) {
	var runs atomic.Int32
	running(t, 1, func(ctx context.Context, _ informer.Key) (time.Duration, error) {
		if runs.Add(1) == 1 {
			return time.Minute, nil
		}
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		require.Equal(t, callTimeout, time.Until(deadline))
		return 0, nil
	}, func(c *Controller) {
		c.Enqueue(web)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		require.EqualValues(t, 1, runs.Load())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.EqualValues(t, 2, runs.Load())
	})
}

func TestWhatIsQueuedAtTheEndIsLeft(t *testing.T) {
	runs := 0
	running(t, 1, func(ctx context.Context, _ informer.Key) (time.Duration, error) {
		runs++
		<-ctx.Done()
		return 0, ctx.Err()
	}, func(c *Controller) {
		c.Enqueue(web)
		synctest.Wait()
		c.Enqueue(informer.Key{Name: "other"})
	})
	require.Equal(t, 1, runs)
}
