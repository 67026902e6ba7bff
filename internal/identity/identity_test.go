package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func newCluster(t testing.TB, dir string) *Cluster {
	t.Helper()
	c, err := LoadOrCreate(dir, Options{Name: "test"})
	require.NoError(t, err)
	return c
}

func TestKeysAreMadeOnceAndPrivate(t *testing.T) {
	dir := t.TempDir()
	first := newCluster(t, dir)
	token, _, err := must(first.Tokens()).Sign(TokenSpec{Namespace: "a", ServiceAccount: Ref{"b", "u"}, Audiences: []string{"x"}, Life: time.Hour})
	require.NoError(t, err)
	second := newCluster(t, dir)
	require.Equal(t, first.CAPEM(), second.CAPEM())
	_, err = must(second.Tokens()).Verify(token)
	require.NoError(t, err)
	for _, name := range []string{"ca.key", saKey} {
		info, err := os.Stat(filepath.Join(dir, "pki", name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
	require.NoError(t, os.Remove(filepath.Join(dir, "pki", "ca.key")))
	_, err = LoadOrCreate(dir, Options{})
	require.ErrorContains(t, err, "ca.key", "a CA without its key is no reason to make another CA")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// handshake returns whom the server saw.
func handshake(server, client *tls.Config) (seen string, err error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	srv, cli := tls.Server(a, server), tls.Client(b, client)
	done := make(chan error, 1)
	go func() {
		err := srv.HandshakeContext(context.Background())
		if err != nil {
			a.Close()
		} else {
			_, err = srv.Write([]byte("x"))
		}
		done <- err
	}()
	if err := cli.HandshakeContext(context.Background()); err != nil {
		b.Close()
		<-done
		return "", err
	}
	if _, err := io.ReadFull(cli, make([]byte, 1)); err != nil {
		<-done
		return "", err
	}
	if err := <-done; err != nil {
		return "", err
	}
	if chains := srv.ConnectionState().VerifiedChains; len(chains) > 0 {
		seen = chains[0][0].Subject.CommonName
	}
	return seen, nil
}

func TestProcessesKnowEachOtherByCertificate(t *testing.T) {
	c, other := newCluster(t, t.TempDir()), newCluster(t, t.TempDir())
	server := c.ServerTLS(Spec{CommonName: "api", DNSNames: []string{"localhost"}})
	dial := func(config *tls.Config) *tls.Config {
		config.ServerName = "localhost"
		return config
	}
	seen, err := handshake(server, dial(c.ClientTLS(User{Name: "jane", Groups: []string{"a", "b"}})))
	require.NoError(t, err)
	require.Equal(t, "jane", seen)

	nobody := dial(c.ClientTLS(User{}))
	nobody.GetClientCertificate = nil
	seen, err = handshake(server, nobody)
	require.NoError(t, err)
	require.Empty(t, seen)

	stranger := dial(other.ClientTLS(User{Name: "eve"}))
	stranger.RootCAs = c.ca.pool
	_, err = handshake(server, stranger)
	require.Error(t, err, "a certificate of another cluster")
	_, err = handshake(server, dial(other.ClientTLS(User{Name: "eve"})))
	require.Error(t, err, "a client of another cluster does not trust this one")
	wrong := c.ClientTLS(User{Name: "jane"})
	wrong.ServerName = "example.org"
	_, err = handshake(server, wrong)
	require.Error(t, err, "a name that the server does not have")
}

func TestCertificatesRenewThemselves(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, dir)
		config := c.ServerTLS(Spec{CommonName: "api", DNSNames: []string{"localhost"}, Life: time.Hour})
		get := func() []byte { return must(config.GetCertificate(nil)).Certificate[0] }
		first := get()
		time.Sleep(30 * time.Minute)
		require.True(t, bytes.Equal(first, get()))
		time.Sleep(15 * time.Minute)
		require.False(t, bytes.Equal(first, get()), "less than 30% is left")
	})
}

func TestCredentialsInFilesAreReissuedWhenTheyMust(t *testing.T) {
	dir, files := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, dir)
		spec := Spec{CommonName: "node", Organizations: []string{"nodes"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Both: true, Life: time.Hour}
		write := func() []byte {
			require.NoError(t, c.WriteCredentials(files, "node", spec))
			return must(os.ReadFile(filepath.Join(files, "node.crt")))
		}
		first := write()
		loaded := must(LoadCredentials(files, "node"))
		require.Equal(t, User{Name: "node", Groups: []string{"nodes"}}, loaded.User())
		server := loaded.ServerTLS()
		get := func() []byte { return must(server.GetCertificate(nil)).Certificate[0] }
		served := get()
		require.True(t, bytes.Equal(first, write()), "as long as they are good they stay")
		time.Sleep(45 * time.Minute)
		second := write()
		require.False(t, bytes.Equal(first, second), "they are due")
		require.False(t, bytes.Equal(served, get()), "the process takes the new ones without a restart")
		spec.IPs = append(spec.IPs, net.IPv4(127, 0, 0, 2))
		require.False(t, bytes.Equal(second, write()), "they have another address")
	})
}

func BenchmarkFirstStart(b *testing.B) {
	for b.Loop() {
		c := newCluster(b, b.TempDir())
		_, err := c.Tokens()
		require.NoError(b, err)
		_, err = c.ServerTLS(Spec{DNSNames: []string{"localhost"}}).GetCertificate(nil)
		require.NoError(b, err)
		_, err = c.Issue(ClientSpec(User{Name: "kubernetes-admin", Groups: []string{GroupMasters}}))
		require.NoError(b, err)
	}
}
