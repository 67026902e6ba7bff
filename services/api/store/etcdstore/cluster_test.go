package etcdstore

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/store/storetest"
)

// certificate makes one self-signed certificate that is its own authority, and returns its files.
func certificate(t *testing.T) (cert, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	return cert, key
}

// TestExternal runs the suite against an etcd that is reached over TLS.
func TestExternal(t *testing.T) {
	cert, key := certificate(t)
	storetest.Run(t, func(t *testing.T) store.Store {
		ec, err := embedConfig(Config{Name: "external", DataDir: filepath.Join(t.TempDir(), "data"), Log: zap.NewNop()})
		require.NoError(t, err)
		anyPort := url.URL{Scheme: "https", Host: "127.0.0.1:0"}
		ec.ListenClientUrls, ec.AdvertiseClientUrls = []url.URL{anyPort}, []url.URL{anyPort}
		ec.ClientTLSInfo = transport.TLSInfo{CertFile: cert, KeyFile: key, TrustedCAFile: cert, ClientCertAuth: true}
		etcd, err := embed.StartEtcd(ec)
		require.NoError(t, err)
		m := &member{etcd: etcd}
		t.Cleanup(m.stop)
		require.NoError(t, m.waitReady(t.Context(), true))

		client := transport.TLSInfo{CertFile: cert, KeyFile: key, TrustedCAFile: cert}
		tlsConfig, err := client.ClientConfig()
		require.NoError(t, err)
		s, err := Open(t.Context(), Config{Endpoints: []string{"https://" + etcd.Clients[0].Addr().String()}, TLS: tlsConfig})
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.Close() })
		return s
	})
	_, err := Open(t.Context(), Config{Endpoints: []string{"http://127.0.0.1:1"}, TLS: &tls.Config{}})
	require.ErrorContains(t, err, "in the clear")
}

// TestCluster: three members take writes at any of them, and two go on without the third.
func TestCluster(t *testing.T) {
	cert, key := certificate(t)
	members := map[string]string{}
	for i := range 3 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		members[fmt.Sprint("m", i)] = "https://" + listener.Addr().String()
		require.NoError(t, listener.Close())
	}
	stores := make([]*Store, 3)
	errs := make([]error, 3)
	var opening sync.WaitGroup
	for i := range stores {
		name := fmt.Sprint("m", i)
		opening.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			stores[i], errs[i] = Open(ctx, Config{Name: name, DataDir: filepath.Join(t.TempDir(), name), Log: zap.NewNop(), Cluster: &ClusterConfig{
				ListenPeer: members[name], AdvertisePeer: members[name], Members: members, CertFile: cert, KeyFile: key, CAFile: cert,
			}})
		})
	}
	opening.Wait()
	for i, s := range stores {
		require.NoError(t, errs[i])
		t.Cleanup(func() { _ = s.Close() })
	}
	writeEverywhere(t, stores, "three")
	require.NoError(t, stores[0].Close())
	writeEverywhere(t, stores[1:], "two")
}

// writeEverywhere writes at each member, and reads at each other what was written.
func writeEverywhere(t *testing.T, stores []*Store, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for i, writer := range stores {
		key := fmt.Sprintf("/registry/%s/%d", name, i)
		var revision int64
		require.Eventually(t, func() (ok bool) { // there is no leader for a moment when a member has gone
			var err error
			revision, err = writer.Commit(ctx, store.Op{Key: key, Value: []byte("x"), Expected: -1})
			return err == nil
		}, 20*time.Second, 50*time.Millisecond)
		for _, reader := range stores {
			newest, err := reader.Revision(ctx)
			require.NoError(t, err)
			require.GreaterOrEqual(t, newest, revision)
			kv, err := reader.Get(ctx, key)
			require.NoError(t, err)
			require.Equal(t, revision, kv.Revision)
		}
	}
}
