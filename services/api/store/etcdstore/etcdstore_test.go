package etcdstore

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/store/storetest"
)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := Open(ctx, Config{DataDir: dir, Log: zaptest.NewLogger(t)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, t.TempDir()) })
}

func TestStart(t *testing.T) {
	dir := t.TempDir()
	start := time.Now()
	s := open(t, dir)
	t.Log("empty:", time.Since(start))
	start = time.Now()
	s.Close()
	t.Log("close:", time.Since(start))
	start = time.Now()
	open(t, dir)
	t.Log("again:", time.Since(start))
}
