package gateway_test

import (
	"crypto/tls"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestAnAnswerIsThereForWhoReadsItLate: a command has ended long ago when its client, which shows signs of life meanwhile, comes
// to read what it has said.
func TestAnAnswerIsThereForWhoReadsItLate(t *testing.T) {
	w := newStreamWorld(t)
	config, err := websocket.NewConfig("wss"+strings.TrimPrefix(w.url, "https")+podPath+"/exec?command=cat&stdin=true&stdout=true", w.url)
	require.NoError(t, err)
	config.Protocol, config.TlsConfig = []string{"v5.channel.k8s.io"}, &tls.Config{RootCAs: w.keys.roots, Certificates: []tls.Certificate{w.keys.admin.TLS}}
	c, err := websocket.DialConfig(config)
	require.NoError(t, err)
	defer c.Close()
	c.PayloadType = websocket.BinaryFrame
	const pieces, size = 16, 16 << 10
	for range pieces {
		_, err = c.Write(append([]byte{0}, make([]byte, size)...))
		require.NoError(t, err)
	}
	_, err = c.Write([]byte{255, 0}) // no more input
	require.NoError(t, err)
	for range 20 {
		time.Sleep(50 * time.Millisecond) // as a person does who reads
		_, _ = c.Write([]byte{4})
	}
	got, status := 0, metav1.Status{}
	for status.Status == "" {
		var message []byte
		require.NoError(t, websocket.Message.Receive(c, &message))
		switch message[0] {
		case 1:
			got += len(message) - 1
		case 3:
			require.NoError(t, json.Unmarshal(message[1:], &status))
		}
	}
	require.Equal(t, pieces*size, got)
	require.Equal(t, metav1.StatusSuccess, status.Status)
}
