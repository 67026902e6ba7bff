package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/h2"
	"karve.dev/karve/services/gateway/media"
)

// history is a source as the API service's are: it wakes only a reader that has come to the end.
type history struct {
	mu     sync.Mutex
	total  int
	next   int
	idle   bool
	ended  bool
	wake   func()
	closed bool
}

func (h *history) happen() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.total++
	if h.idle {
		h.idle = false
		h.wake()
	}
}

func (h *history) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	h.wake()
}

func (h *history) Poll() (any, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(h.total-h.next, 256)
	if n == 0 {
		if h.idle = true; h.ended {
			return nil, false, io.EOF
		}
		return nil, false, nil
	}
	res := &apiv1.WatchResponse{}
	for range n {
		res.Events = append(res.Events, event(h.next))
		h.next++
	}
	h.idle = h.next == h.total
	return res, !h.idle, nil
}

func (h *history) Close() { h.closed = true }

// event is of a size that differs from the next one's, at times larger than a frame.
func event(i int) *apiv1.WatchEvent {
	data := fmt.Sprintf(`{"n":%d,"x":%q}`, i, strings.Repeat("x", i*97%2000+i%50/49*40_000))
	return &apiv1.WatchEvent{Type: apiv1.WatchEvent_TYPE_MODIFIED, Object: &apiv1.Object{Encoding: apiv1.Encoding_ENCODING_JSON, Data: []byte(data)}}
}

// TestAPulledWatchTellsEverythingOnce: whatever the windows of the client and whenever things happen.
func TestAPulledWatchTellsEverythingOnce(t *testing.T) {
	const events = 3000
	woken := make(chan struct{}, 1)
	h := &history{idle: true, wake: func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	}}
	ended := false
	p := &pulled{ctx: context.Background(), source: h, format: media.JSON, end: func() { ended = true }}
	go func() {
		for range events {
			h.happen()
		}
		h.end()
	}()
	var got, want bytes.Buffer
	for state := h2.Waiting; state != h2.Done; {
		n := rand.N(20_000)
		if n < 2000 {
			n = 0
		}
		var b []byte
		b, state = p.Append(nil, n)
		require.LessOrEqual(t, len(b), n)
		got.Write(b)
		if state == h2.Waiting && n > 0 {
			<-woken
		}
	}
	p.Stop()
	require.True(t, ended)
	require.True(t, h.closed)
	for i := range events {
		frame, err := appendEvent(nil, media.JSON, event(i))
		require.NoError(t, err)
		want.Write(frame)
	}
	require.Equal(t, want.Len(), got.Len())
	require.True(t, bytes.Equal(want.Bytes(), got.Bytes()))
}
