package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"karve.dev/karve/internal/cluster"
)

func TestWhichClusterIsMeant(t *testing.T) {
	stopped := func() cluster.Dir { return cluster.Dir(t.TempDir()) }
	runs := func() cluster.Dir {
		dir := stopped()
		require.NoError(t, os.WriteFile(dir.Lock(), []byte("1"), 0o600))
		f, err := os.Open(dir.Lock())
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() })
		require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
		return dir
	}
	for name, c := range map[string]struct {
		known   map[string]cluster.Dir
		current string
		want    string
		err     string
	}{
		"none":                         {want: "karve"},
		"the only one that runs":       {known: map[string]cluster.Dir{"karve": stopped(), "dev": runs()}, want: "dev"},
		"the one that kubectl asks":    {known: map[string]cluster.Dir{"karve": runs(), "dev": runs()}, current: "dev", want: "dev"},
		"kubectl asks something else":  {known: map[string]cluster.Dir{"karve": runs(), "dev": runs()}, current: "gke", want: "karve"},
		"kubectl asks one that is off": {known: map[string]cluster.Dir{"a": stopped(), "b": runs()}, current: "a", want: "a"},
		"several":                      {known: map[string]cluster.Dir{"b": runs(), "a": runs()}, err: "several clusters run (a, b): say which with --name or $KARVE_NAME"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := guessed(c.known, c.current)
			if c.err != "" {
				require.EqualError(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}
