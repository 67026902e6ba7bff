package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"karve.dev/karve/integration/cluster"
)

// gathering is a number of streams that wait for each other before they go on.
type gathering struct {
	group   *errgroup.Group
	ctx     context.Context
	arrived sync.WaitGroup
	begin   chan struct{}
}

// together runs n streams, which add adds. When all of them are open begin is called, and then they carry the rest.
func (s *streams) together(n int, add func(*gathering), begin func()) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*cluster.Wait)
	defer cancel()
	all := &gathering{begin: make(chan struct{})}
	all.group, all.ctx = errgroup.WithContext(ctx)
	all.arrived.Add(n)
	opened := make(chan struct{})
	go func() {
		all.arrived.Wait()
		close(opened)
	}()
	add(all)
	<-opened
	if all.ctx.Err() == nil {
		begin()
		close(all.begin)
	}
	require.NoError(s.t, all.group.Wait())
}

// add runs one stream. It calls meet once it has proved to be open.
func (g *gathering) add(what string, run func(ctx context.Context, meet func()) error) {
	g.group.Go(func() error {
		met := sync.OnceFunc(g.arrived.Done)
		defer met()
		err := run(g.ctx, func() {
			met()
			select {
			case <-g.begin:
			case <-g.ctx.Done():
			}
		})
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	})
}

// payload is what a stream carries: a first piece, and more of it.
func payload() (first, rest []byte) {
	source := rand.NewChaCha8([32]byte{byte(rand.Uint32())})
	data := make([]byte, 256<<10)
	_, _ = source.Read(data)
	return data[:1000], data[1000:]
}

// answer is what comes back; got is closed when its first piece is there.
type answer struct {
	all   bytes.Buffer
	first int
	got   chan struct{}
}

func newAnswer(first int) *answer { return &answer{first: first, got: make(chan struct{})} }

func (a *answer) Write(data []byte) (int, error) {
	if before := a.all.Len(); before < a.first && before+len(data) >= a.first {
		defer close(a.got)
	}
	return a.all.Write(data)
}

// question is an input that pauses after its first piece.
type question struct {
	first, rest []byte
	pause       func()
}

func (q *question) Read(into []byte) (int, error) {
	if len(q.first) == 0 && q.pause != nil {
		q.pause()
		q.pause = nil
	}
	from := &q.rest
	if len(q.first) > 0 {
		from = &q.first
	}
	n := copy(into, *from)
	if *from = (*from)[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}
