package gateway

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCompressionIsForOtherMachines(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept-Encoding", "deflate, gzip;q=0.5")
	r.RemoteAddr = "192.0.2.1:1234"
	require.True(t, wantsGzip(r))
	for _, local := range []string{"127.0.0.1:1", "[::1]:1"} {
		r.RemoteAddr = local
		require.False(t, wantsGzip(r))
	}
	for _, header := range []string{"", "identity", "gzip;q=0", "br"} {
		require.False(t, acceptsGzip(header), header)
	}
	big := bytes.Repeat([]byte("karve "), gzipThreshold)
	rec := httptest.NewRecorder()
	r.RemoteAddr = "192.0.2.1:1234"
	b := body{contentType: plainText, code: http.StatusOK, data: big}
	b.write(&response{ResponseWriter: rec}, r)
	require.Equal(t, "gzip", rec.Header().Get("Content-Encoding"))
	require.Less(t, rec.Body.Len(), len(big)/10)
}

// TestMadeUpTokensAreOneClient: only a token that the API has taken makes its bearer a client of his own.
func TestMadeUpTokensAreOneClient(t *testing.T) {
	verifier := newVerifier(nil)
	p := &peer{}
	as := func(token string) string {
		r := httptest.NewRequest("GET", "/", nil)
		r = r.WithContext(context.WithValue(r.Context(), peerKey{}, p))
		r.RemoteAddr = "192.0.2.1:1234"
		r.Header.Set("Authorization", "Bearer "+token)
		ctx, err := verifier.forward(r.Context(), r)
		require.NoError(t, err)
		return clientOf(ctx, r)
	}
	require.Equal(t, "192.0.2.1", as("one"))
	require.Equal(t, "192.0.2.1", as("two"))
	p.latest.Load().taken()
	require.Equal(t, "Bearer two", as("two"))
	require.Equal(t, "192.0.2.1", as("three"))
}

func TestAuditIDsAreUUIDs(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, auditID(r))
	r.Header.Set("Audit-Id", "mine")
	require.Equal(t, "mine", auditID(r))
}
