package api

import (
	"context"

	"go.uber.org/zap"

	"karve.dev/karve/services/api/encryption"
	"karve.dev/karve/services/api/server"
)

// secretKeys begins the keys whose values nobody may read on disk.
const secretKeys = server.Prefix + "core/secrets/"

// encrypt puts encryption between the configured store and everything else; it returns nil when none is configured.
func encrypt(config *Config) (*encryption.Store, error) {
	if config.EncryptionKeys == "" {
		return nil, nil
	}
	ring, err := encryption.LoadOrCreate(config.EncryptionKeys)
	if err != nil {
		return nil, err
	}
	s := encryption.Wrap(config.Store, ring, secretKeys)
	config.Store = s
	return s, nil
}

// encryptAnew brings Secrets that are stored in the clear or under an old key under the newest. What it cannot do stays
// as it is, readable as before.
func (s *Server) encryptAnew(ctx context.Context) {
	if s.encrypted == nil {
		return
	}
	if err := s.encrypted.Rewrite(ctx); err != nil && ctx.Err() == nil {
		s.config.Log.Warn("Secrets were not all encrypted with the newest key", zap.Error(err))
	}
}
