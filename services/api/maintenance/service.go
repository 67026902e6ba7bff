// Package maintenance saves what the store holds and brings it back, while the cluster is in use, and gives Secrets a new
// key.
package maintenance

import (
	"context"
	"fmt"
	"sync"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
	"karve.dev/karve/services/api/encryption"
	"karve.dev/karve/services/api/store"
)

// The URL paths whose verbs say who may do what.
const (
	backupPath     = "/karve/backup"
	secretsKeyPath = "/karve/secrets-key"
)

// Config makes a Service.
type Config struct {
	// Raw is the store with its values as they are on disk.
	Raw store.Store
	// Hold is the store that everybody writes to, with its values as they are read.
	Hold *Hold
	// Encrypted encrypts Secrets with the keys of the file KeyFile; nil when nothing is encrypted.
	Encrypted *encryption.Store
	KeyFile   string
	// Authorize says whether the caller may use a verb on a URL path.
	Authorize func(ctx context.Context, path, verb string) error
	// Restored makes what every cluster has, where a restored backup has it otherwise.
	Restored func(ctx context.Context) error
	// Log is nil for none.
	Log *zap.Logger
}

// Service implements MaintenanceService. One restore, or one change of the key, runs at a time.
type Service struct {
	systemv1.UnimplementedMaintenanceServiceServer
	config Config
	// alone is held by a restore and by the change of the key: what a restore has sealed with the old key, nobody would open.
	alone sync.Mutex
}

// New returns a Service.
func New(config Config) *Service {
	if config.Log == nil {
		config.Log = zap.NewNop()
	}
	return &Service{config: config}
}

// page is how many keys are read at a time, chunkBytes about how large a message may get before it is sent.
const (
	page       = 500
	chunkBytes = 1 << 20
)

// Backup implements MaintenanceService.
func (s *Service) Backup(_ *systemv1.BackupRequest, out grpc.ServerStreamingServer[systemv1.BackupResponse]) error {
	ctx := out.Context()
	if err := s.config.Authorize(ctx, backupPath, "get"); err != nil {
		return err
	}
	message, size := &systemv1.BackupResponse{}, 0
	err := walk(ctx, s.config.Raw, func(kv store.KV, revision int64) error {
		message.Revision = revision
		message.Objects = append(message.Objects, &systemv1.StoredObject{Key: kv.Key, Value: kv.Value})
		if size += len(kv.Key) + len(kv.Value); size < chunkBytes {
			return nil
		}
		err := out.Send(message)
		message, size = &systemv1.BackupResponse{}, 0
		return err
	})
	if err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	if len(message.GetObjects()) == 0 {
		return nil
	}
	return out.Send(message)
}

// walk calls fn for every key in order, as of one revision.
func walk(ctx context.Context, s store.Store, fn func(kv store.KV, revision int64) error) error {
	var at int64
	for after := ""; ; {
		kvs, revision, err := s.List(ctx, "/", store.ListOptions{Revision: at, After: after, Limit: page})
		if err != nil {
			return err
		}
		if at == 0 {
			at = revision
		}
		for _, kv := range kvs {
			if err := fn(kv, at); err != nil {
				return err
			}
		}
		if len(kvs) < page {
			return nil
		}
		after = kvs[len(kvs)-1].Key
	}
}

// RotateSecretsKey implements MaintenanceService.
func (s *Service) RotateSecretsKey(ctx context.Context, _ *systemv1.RotateSecretsKeyRequest) (*systemv1.RotateSecretsKeyResponse, error) {
	if err := s.config.Authorize(ctx, secretsKeyPath, "post"); err != nil {
		return nil, err
	}
	if s.config.Encrypted == nil {
		return nil, apierrors.NewBadRequest("Secrets are not encrypted in this cluster: there is no key to rotate")
	}
	s.alone.Lock()
	defer s.alone.Unlock()
	var name string
	err := s.config.Hold.pause(func() (err error) {
		name, err = s.config.Encrypted.RotateKey(ctx, s.config.KeyFile)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("rotate the key of Secrets: %w", err)
	}
	s.config.Log.Info("Secrets are encrypted with a new key", zap.String("key", name))
	return &systemv1.RotateSecretsKeyResponse{Key: name}, nil
}
