package fair_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/internal/fair"
)

func enter(t *testing.T, l *fair.Limiter, name string) (leave func()) {
	leave, err := l.Enter(t.Context(), name)
	require.NoError(t, err)
	return leave
}

// TestFloodIsTheFloodersTrouble: while one client keeps everything busy, another is served at the next opportunity, is
// never refused, and gets half of what there is.
func TestFloodIsTheFloodersTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := fair.New(fair.Config{Running: 4, Waiting: 20, Patience: time.Hour})
		var wg sync.WaitGroup
		var mu sync.Mutex
		served, refused := map[string]int{}, map[string]int{}
		request := func(name string) {
			leave, err := l.Enter(t.Context(), name)
			mu.Lock()
			if errors.Is(err, fair.ErrBusy) {
				refused[name]++
			} else {
				served[name]++
			}
			mu.Unlock()
			if err == nil {
				time.Sleep(time.Second)
				leave()
			}
		}
		for range 100 {
			wg.Go(func() { request("flood") })
		}
		synctest.Wait()
		require.Equal(t, 76, refused["flood"], "what exceeds the queue is refused at once")
		for range 8 {
			wg.Go(func() { request("quiet") })
		}
		time.Sleep(4500 * time.Millisecond) // four rounds of four
		mu.Lock()
		require.Zero(t, refused["quiet"])
		require.Equal(t, 8, served["quiet"], "half of the 16 places that became free, and sooner than those who came first")
		mu.Unlock()
		wg.Wait()
		running, waiting := l.Load()
		require.Zero(t, running+waiting)
	})
}

func TestNobodyWaitsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := fair.New(fair.Config{Running: 1, Waiting: 2, Patience: 2 * time.Second})
		leave := enter(t, l, "a")
		start := time.Now()
		_, err := l.Enter(t.Context(), "b")
		require.ErrorIs(t, err, fair.ErrBusy)
		require.Equal(t, 2*time.Second, time.Since(start))
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = l.Enter(gone, "b")
		require.ErrorIs(t, err, context.Canceled)
		leave()
		enter(t, l, "b")()
	})
}

func BenchmarkEnter(b *testing.B) {
	l := fair.New(fair.Config{Running: 400, Waiting: 2000, Patience: time.Second})
	for i := 0; b.Loop(); i++ {
		leave, err := l.Enter(b.Context(), fmt.Sprint("client-", i%10))
		if err != nil {
			b.Fatal(err)
		}
		leave()
	}
}
