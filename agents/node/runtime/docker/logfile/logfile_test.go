package logfile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/runtime/docker/logfile"
)

// driver writes a log as the engine does.
type driver struct {
	t     *testing.T
	path  string
	files int
	now   time.Time
	f     *os.File
}

func newDriver(t *testing.T, files int) *driver {
	d := &driver{t: t, path: filepath.Join(t.TempDir(), "c-json.log"), files: files, now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	d.create()
	return d
}

func (d *driver) create() {
	f, err := os.Create(d.path)
	require.NoError(d.t, err)
	d.f = f
}

func (d *driver) write(stream, text string) {
	d.now = d.now.Add(time.Second)
	data, err := json.Marshal(map[string]any{"log": text, "stream": stream, "time": d.now})
	require.NoError(d.t, err)
	_, err = d.f.Write(append(data, '\n'))
	require.NoError(d.t, err)
}

func (d *driver) turnOver() {
	name := func(i int) string { return fmt.Sprintf("%s.%d", d.path, i) }
	require.NoError(d.t, d.f.Close())
	_ = os.Remove(name(d.files - 1))
	for i := d.files - 1; i > 1; i-- {
		_ = os.Rename(name(i-1), name(i))
	}
	require.NoError(d.t, os.Rename(d.path, name(1)))
	d.create()
}

func (d *driver) read(opts runtime.LogOptions) string {
	var out bytes.Buffer
	require.NoError(d.t, logfile.Copy(d.t.Context(), d.path, opts, nil, &out, &out))
	return out.String()
}

func TestALogIsReadThroughAllItsFiles(t *testing.T) {
	d := newDriver(t, 3)
	for i := range 10 {
		if i == 4 || i == 7 {
			d.turnOver()
		}
		d.write([]string{"stdout", "stderr"}[i%2], fmt.Sprintln(i))
	}
	all := runtime.LogOptions{Tail: -1}
	require.Equal(t, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n", d.read(all))
	for tail, want := range map[int64]string{0: "", 1: "9\n", 3: "7\n8\n9\n", 4: "6\n7\n8\n9\n", 6: "4\n5\n6\n7\n8\n9\n", 10: d.read(all), 99: d.read(all)} {
		require.Equal(t, want, d.read(runtime.LogOptions{Tail: tail}), tail)
	}
	require.Equal(t, "8\n9\n", d.read(runtime.LogOptions{Tail: -1, Since: d.now.Add(-time.Second)}))
	d.write("stdout", "long ")
	d.write("stdout", "line\n")
	require.Equal(t, "2030-01-01T00:00:11.000000000Z long line\n", d.read(runtime.LogOptions{Tail: 2, Timestamps: true}))
	_, err := io.WriteString(d.f, `{"log":"half a li`)
	require.NoError(t, err)
	var errOut bytes.Buffer
	require.NoError(t, logfile.Copy(t.Context(), d.path, all, nil, nil, &errOut))
	require.Equal(t, "1\n3\n5\n7\n9\n", errOut.String())
	d.turnOver()
	require.Equal(t, "4\n5\n6\n7\n8\n9\nlong line\n", d.read(all), "what has been turned over too often is gone")
	require.ErrorIs(t, logfile.Copy(t.Context(), d.path+"x", all, nil, &errOut, &errOut), logfile.ErrNone)
}

// TestAFollowedLogIsToldOnce: a log that is turned over all the time while it is followed is told without a gap, each line
// once; also to one who reads it by pieces, and to its very end.
func TestAFollowedLogIsToldOnce(t *testing.T) {
	d := newDriver(t, 5)
	from, to := io.Pipe()
	ended := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		err := logfile.Copy(t.Context(), d.path, runtime.LogOptions{Tail: -1, Follow: true}, ended, to, to)
		_ = to.CloseWithError(err)
		done <- err
	}()
	var want, got strings.Builder
	const rounds = 300
	for i := range rounds {
		for j := range 20 {
			line := fmt.Sprintln(i, j)
			want.WriteString(line)
			d.write("stdout", line)
			if j == i%20 {
				d.turnOver()
			}
		}
		// Two files are written between two reads: less than are kept.
		piece := make([]byte, want.Len()-got.Len())
		_, err := io.ReadFull(from, piece)
		require.NoError(t, err)
		got.Write(piece)
	}
	for range 5 {
		want.WriteString("more\n")
		d.write("stdout", "more\n")
	}
	piece := make([]byte, want.Len()-got.Len())
	_, err := io.ReadFull(from, piece)
	require.NoError(t, err)
	got.Write(piece)
	require.NoError(t, os.Truncate(d.path, 0)) // as those do who want their disk back
	_, err = d.f.Seek(0, io.SeekStart)
	require.NoError(t, err)
	d.write("stdout", "the end\n")
	d.turnOver()
	close(ended)
	rest, err := io.ReadAll(from)
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.Equal(t, want.String()+"the end\n", got.String()+string(rest))
}

func TestWhoStopsToFollowIsLetGo(t *testing.T) {
	d := newDriver(t, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := logfile.Copy(ctx, d.path, runtime.LogOptions{Tail: 0, Follow: true}, make(chan struct{}), io.Discard, io.Discard)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// growing writes another line whenever it has been told one.
type growing struct {
	d    *driver
	told bytes.Buffer
}

func (g *growing) Write(p []byte) (int, error) {
	for range bytes.Count(p, []byte("\n")) {
		g.d.write("stdout", "and another\n")
	}
	return g.told.Write(p)
}

// A log that grows as fast as it is read ends where it ended at first.
func TestALogThatIsNotFollowedEnds(t *testing.T) {
	for _, tail := range []int64{-1, 2} {
		d := newDriver(t, 3)
		for i := range 5 {
			d.write("stdout", fmt.Sprintf("line %d\n", i))
		}
		out := &growing{d: d}
		require.NoError(t, logfile.Copy(t.Context(), d.path, runtime.LogOptions{Tail: tail}, nil, out, nil))
		want := "line 3\nline 4\n"
		if tail < 0 {
			want = "line 0\nline 1\nline 2\n" + want
		}
		require.Equal(t, want, out.told.String())
	}
}
