package h2

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
)

// TestAnAnswerEndsWithoutRoom: the end of an answer is no data, so it needs no window; not even when the client has taken back
// what it had granted.
func TestAnAnswerEndsWithoutRoom(t *testing.T) {
	taken := make(chan struct{})
	url, _, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
		_ = http.NewResponseController(w).Flush()
		<-taken
	})
	c := dial(t, url)
	require.NoError(t, c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 5}))
	c.ask(1, true)
	for acks, ended := 0, false; !ended; {
		f, err := c.ReadFrame()
		require.NoError(t, err)
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if f.IsAck() {
				if acks++; acks == 3 {
					close(taken)
				}
			}
		case *http2.DataFrame:
			if len(f.Data()) > 0 {
				require.Equal(t, "hello", string(f.Data()))
				require.NoError(t, c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
			}
			ended = f.StreamEnded()
		}
	}
}
