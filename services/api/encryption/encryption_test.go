package encryption_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/encryption"
	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/store/memstore"
	"karve.dev/karve/services/api/store/storetest"
)

const secrets = "/registry/core/secrets/"

func wrap(t *testing.T, inner store.Store, path string) *encryption.Store {
	ring, err := encryption.LoadOrCreate(path)
	require.NoError(t, err)
	return encryption.Wrap(inner, ring, secrets)
}

func TestSecretsAreUnreadableInTheStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	var inner store.Store
	c := apitest.Start(t, func(c *api.Config) {
		inner = c.Store
		c.EncryptionKeys = path
	})
	cl, ctx := c.Client(apitest.Admin), t.Context()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}, Data: map[string][]byte{"password": []byte("hunter2")}}
	require.NoError(t, cl.Create(ctx, secret))
	got := &corev1.Secret{}
	require.NoError(t, cl.Get(ctx, got, "default", "s"))
	require.Equal(t, "hunter2", string(got.Data["password"]))
	list := &corev1.SecretList{}
	require.NoError(t, cl.List(ctx, list, client.ListOptions{Namespace: "default"}))
	require.Len(t, list.Items, 1)

	raw, err := inner.Get(ctx, secrets+"default/s")
	require.NoError(t, err)
	require.NotContains(t, string(raw.Value), "hunter2")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestRotation(t *testing.T) {
	path, ctx := filepath.Join(t.TempDir(), "keys"), t.Context()
	inner := memstore.New()
	_, err := inner.Commit(ctx, store.Op{Key: secrets + "a/clear", Value: []byte("from before")})
	require.NoError(t, err)
	old := wrap(t, inner, path)
	_, err = old.Commit(ctx, store.Op{Key: secrets + "a/old", Value: []byte("old")})
	require.NoError(t, err)

	require.NoError(t, encryption.Rotate(path))
	s := wrap(t, inner, path)
	require.NoError(t, s.Rewrite(ctx))
	for name, want := range map[string]string{"clear": "from before", "old": "old"} {
		kv, err := s.Get(ctx, secrets+"a/"+name)
		require.NoError(t, err)
		require.Equal(t, want, string(kv.Value))
		_, err = old.Get(ctx, secrets+"a/"+name)
		require.ErrorIs(t, err, encryption.ErrKey, "the old key alone opens nothing any more")
	}

	// A value that is moved to another key does not open.
	kv, err := inner.Get(ctx, secrets+"a/old")
	require.NoError(t, err)
	_, err = inner.Commit(ctx, store.Op{Key: secrets + "b/moved", Value: kv.Value})
	require.NoError(t, err)
	_, err = s.Get(ctx, secrets+"b/moved")
	require.ErrorIs(t, err, encryption.ErrKey)
}

func TestOpenKeyFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	_, err := encryption.LoadOrCreate(path)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(path, 0o644))
	_, err = encryption.LoadOrCreate(path)
	require.ErrorContains(t, err, "can be read by others")
}

func TestStore(t *testing.T) {
	ring, err := encryption.LoadOrCreate(filepath.Join(t.TempDir(), "keys"))
	require.NoError(t, err)
	storetest.Run(t, func(t *testing.T) store.Store { return encryption.Wrap(memstore.New(), ring, "/") })
}
