package maintenance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
)

type clusterUnderTest struct {
	*apitest.Cluster
	keys string
}

func start(t *testing.T) clusterUnderTest {
	c := clusterUnderTest{keys: filepath.Join(t.TempDir(), "keys")}
	c.Cluster = apitest.Start(t, func(config *api.Config) { config.EncryptionKeys = c.keys })
	return c
}

func (c clusterUnderTest) maintenance(user identity.User) systemv1.MaintenanceServiceClient {
	return systemv1.NewMaintenanceServiceClient(c.Conn(user))
}

// backup returns what a backup holds, and the keys for its Secrets.
func (c clusterUnderTest) backup(t *testing.T) (objects []*systemv1.StoredObject, keys []byte) {
	stream, err := c.maintenance(apitest.Admin).Backup(t.Context(), &systemv1.BackupRequest{})
	require.NoError(t, err)
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		objects = append(objects, message.GetObjects()...)
	}
	keys, err = os.ReadFile(c.keys)
	require.NoError(t, err)
	return objects, keys
}

func (c clusterUnderTest) restore(ctx context.Context, objects []*systemv1.StoredObject, keys []byte) (*systemv1.RestoreResponse, error) {
	stream, err := c.maintenance(apitest.Admin).Restore(ctx)
	if err != nil {
		return nil, err
	}
	_ = stream.Send(&systemv1.RestoreRequest{SecretsKeys: keys})
	for _, o := range objects {
		_ = stream.Send(&systemv1.RestoreRequest{Objects: []*systemv1.StoredObject{o}})
	}
	_ = stream.Send(&systemv1.RestoreRequest{Complete: true})
	return stream.CloseAndRecv()
}

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Data: map[string]string{"v": value}}
}

func value(t *testing.T, cl *client.Client, name string) string {
	got := &corev1.ConfigMap{}
	err := cl.Get(t.Context(), got, "default", name)
	if apierrors.IsNotFound(apierr.FromGRPC(err)) {
		return ""
	}
	require.NoError(t, err)
	return got.Data["v"]
}

// TestRestoreWhileInUse: after a restore everything is as it was, under its old UID, while others go on writing.
func TestRestoreWhileInUse(t *testing.T) {
	c := start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	for _, name := range []string{"same", "changed", "deleted", "recreated"} {
		require.NoError(t, cl.Create(ctx, configMap(name, "before")))
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}, Data: map[string][]byte{"password": []byte("hunter2")}}
	require.NoError(t, cl.Create(ctx, secret))
	recreated := &corev1.ConfigMap{}
	require.NoError(t, cl.Get(ctx, recreated, "default", "recreated"))
	objects, keys := c.backup(t)
	for _, o := range objects {
		require.NotContains(t, string(o.GetValue()), "hunter2")
	}

	changed := &corev1.ConfigMap{}
	require.NoError(t, cl.Get(ctx, changed, "default", "changed"))
	changed.Data["v"] = "after"
	require.NoError(t, cl.Update(ctx, changed))
	require.NoError(t, cl.Delete(ctx, configMap("deleted", ""), client.DeleteOptions{}))
	require.NoError(t, cl.Delete(ctx, configMap("recreated", ""), client.DeleteOptions{}))
	require.NoError(t, cl.Create(ctx, configMap("recreated", "another")))
	require.NoError(t, cl.Create(ctx, configMap("new", "after")))
	require.NoError(t, cl.Delete(ctx, secret, client.DeleteOptions{}))
	_, err := c.maintenance(apitest.Admin).RotateSecretsKey(ctx, &systemv1.RotateSecretsKeyRequest{})
	require.NoError(t, err)

	busy, stop := context.WithCancel(ctx)
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; busy.Err() == nil; i++ {
				err := cl.Create(busy, configMap(fmt.Sprintf("busy-%d-%d", w, i), "x"))
				if err != nil && busy.Err() == nil && !apierrors.IsTooManyRequests(err) {
					t.Errorf("a write beside the restore failed: %v", err)
				}
			}
		})
	}
	result, err := c.restore(ctx, objects, keys)
	stop()
	writers.Wait()
	require.NoError(t, err)
	require.Positive(t, result.GetUnchanged())
	for name, want := range map[string]string{"same": "before", "changed": "before", "deleted": "before", "recreated": "before", "new": ""} {
		require.Equal(t, want, value(t, cl, name), name)
	}
	again := &corev1.ConfigMap{}
	require.NoError(t, cl.Get(ctx, again, "default", "recreated"))
	require.Equal(t, recreated.UID, again.UID)
	gotSecret := &corev1.Secret{}
	require.NoError(t, cl.Get(ctx, gotSecret, "default", "s"))
	require.Equal(t, "hunter2", string(gotSecret.Data["password"]), "encrypted anew with the key that came after the backup")
}

// TestRestoreElsewhere: a cluster that never saw the objects has them, and its Secrets under its own key.
func TestRestoreElsewhere(t *testing.T) {
	old, fresh := start(t), start(t)
	require.NoError(t, old.Client(apitest.Admin).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}, Data: map[string][]byte{"password": []byte("hunter2")},
	}))
	objects, keys := old.backup(t)
	_, err := fresh.restore(t.Context(), objects, nil)
	require.NoError(t, err, "without keys everything else is restored")
	require.Error(t, fresh.Client(apitest.Admin).Get(t.Context(), &corev1.Secret{}, "default", "s"))
	_, err = fresh.restore(t.Context(), objects, keys)
	require.NoError(t, err)
	got := &corev1.Secret{}
	require.NoError(t, fresh.Client(apitest.Admin).Get(t.Context(), got, "default", "s"))
	require.Equal(t, "hunter2", string(got.Data["password"]))
}

func TestBrokenBackupChangesNothing(t *testing.T) {
	c := start(t)
	cl := c.Client(apitest.Admin)
	require.NoError(t, cl.Create(t.Context(), configMap("kept", "x")))
	objects, keys := c.backup(t)
	for name, broken := range map[string][]*systemv1.StoredObject{
		"out of order": {objects[1], objects[0]}, "twice": {objects[0], objects[0]}, "no value": {{Key: "/registry/x"}}, "no key": {{Value: []byte("x")}},
	} {
		_, err := c.restore(t.Context(), broken, keys)
		require.True(t, apierrors.IsBadRequest(apierr.FromGRPC(err)), "%s: %v", name, err)
	}
	stream, err := c.maintenance(apitest.Admin).Restore(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&systemv1.RestoreRequest{SecretsKeys: keys, Objects: objects[:1]}))
	_, err = stream.CloseAndRecv()
	require.ErrorContains(t, err, "too early")
	require.Equal(t, "x", value(t, cl, "kept"))
}

func TestOnlyAdministratorsBackUp(t *testing.T) {
	c := start(t)
	stream, err := c.maintenance(identity.User{Name: "jane"}).Backup(t.Context(), &systemv1.BackupRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.True(t, apierrors.IsForbidden(apierr.FromGRPC(err)), "%v", err)
	_, err = c.maintenance(identity.User{Name: "jane"}).RotateSecretsKey(t.Context(), &systemv1.RotateSecretsKeyRequest{})
	require.True(t, apierrors.IsForbidden(apierr.FromGRPC(err)), "%v", err)
}
