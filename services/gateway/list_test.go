package gateway_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
)

func TestListsThatComeInPiecesArriveWhole(t *testing.T) {
	w := newWorld(t)
	const pods = "/api/v1/namespaces/default/pods"
	res, body := w.do(t, "GET", pods, "")
	require.Equal(t, string(w.api.json)+"\n", body)
	require.Equal(t, strconv.Itoa(len(body)), res.Header.Get("Content-Length"))
	asked, _ := w.api.seen()
	require.True(t, asked.(*apiv1.ListRequest).GetAs().GetInPieces())
	for _, header := range []string{"User-Agent: curl/8", "Accept: application/yaml", "Accept: application/vnd.kubernetes.protobuf"} {
		_, body = w.do(t, "GET", pods, "", header)
		require.Contains(t, body, "web")
		asked, _ = w.api.seen()
		require.False(t, asked.(*apiv1.ListRequest).GetAs().GetInPieces(), "what is written anew is asked for whole")
	}
}
