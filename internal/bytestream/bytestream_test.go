package bytestream_test

import (
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/internal/bytestream"
)

// script is a stream that says what it is given to say, and ends with an error or in order.
type script struct {
	says []string
	end  error
	said chan string
}

func (s *script) Send(data []byte) error { s.said <- string(data); return nil }
func (s *script) CloseSend() error       { close(s.said); return nil }
func (s *script) Recv() ([]byte, error) {
	if len(s.says) == 0 {
		return nil, s.end
	}
	next := s.says[0]
	s.says = s.says[1:]
	return []byte(next), nil
}

func TestHowAStreamEndsIsHowReadingEnds(t *testing.T) {
	broken := errors.New("the node is gone")
	for _, c := range []struct{ end, want error }{{io.EOF, nil}, {broken, broken}} {
		conn := bytestream.New(&script{says: []string{"a", "bc"}, end: c.end, said: make(chan string, 1)}, func() {}, nil, nil)
		got, err := io.ReadAll(conn)
		require.Equal(t, "abc", string(got))
		require.ErrorIs(t, err, c.want)
		require.NoError(t, conn.Close())
	}
}

func TestHalfClosedConnectionHasSentEverything(t *testing.T) {
	waiting := make(chan struct{})
	s := &script{said: make(chan string, 4)}
	conn := bytestream.New(&blocked{s, waiting}, func() { close(waiting) }, nil, nil)
	for _, text := range []string{"one", "two"} {
		_, err := conn.Write([]byte(text))
		require.NoError(t, err)
	}
	require.NoError(t, conn.CloseWrite())
	var got []string
	for text := range s.said {
		got = append(got, text)
	}
	require.Equal(t, []string{"one", "two"}, got)
	require.NoError(t, conn.Close())
}

// blocked says nothing until it is cancelled.
type blocked struct {
	*script
	cancelled chan struct{}
}

func (b *blocked) Recv() ([]byte, error) {
	<-b.cancelled
	return nil, errors.New("cancelled")
}
