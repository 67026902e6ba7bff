package cluster

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"

	"github.com/stretchr/testify/require"
)

// OwnPage returns a page of the daemon's socket: its health, metrics, or a profile.
func (c *Cluster) OwnPage(path string) string {
	c.t.Helper()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(c.DataDir, "karved.sock"))
	}
	own := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: Wait}
	res, err := own.Get("http://daemon" + path)
	require.NoError(c.t, err)
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	require.NoError(c.t, err)
	return string(page)
}
