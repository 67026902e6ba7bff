// Package etcdstore keeps the API's data in etcd: embedded in the process and called without a network hop, alone or
// as one of several members, or an external cluster.
//
// An embedded member that is alone listens on nothing at all: its store is reached through this package only.
package etcdstore

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"karve.dev/karve/services/api/store"
)

// Config says which etcd to use. With Endpoints it is an external one, else it is embedded with its data in DataDir.
type Config struct {
	// Name is the member's name, unique in its cluster; default "karve".
	Name string
	// DataDir holds the member's data; it is made with mode 0700.
	DataDir string
	// Cluster makes the embedded member one of several; nil: it is alone.
	Cluster *ClusterConfig

	// Endpoints are an external cluster's client addresses, "https://host:2379" each, reached with TLS.
	Endpoints []string
	TLS       *tls.Config

	// History is how long old revisions are kept at least, for watches and continue tokens; default 5 minutes.
	History time.Duration
	// HistoryMin and HistoryMax bound that in revisions: so many are always kept, and never more; defaults 5,000 and
	// 100,000.
	HistoryMin, HistoryMax int64

	Log *zap.Logger
}

// ClusterConfig is for a member of a cluster of several.
type ClusterConfig struct {
	// ListenPeer is where other members reach this one, "https://0.0.0.0:2380"; AdvertisePeer is what they are told.
	ListenPeer, AdvertisePeer string
	// Members are all members' peer addresses by name, this one's included, as they stand when the member first starts.
	Members map[string]string
	// Join is set for a member that is added to a cluster which runs already.
	Join bool
	// CertFile, KeyFile and CAFile are for mutual TLS between members; they are required.
	CertFile, KeyFile, CAFile string
}

// Store is a store.Store over etcd.
type Store struct {
	client *clientv3.Client
	member *member // nil for an external cluster
	log    *zap.Logger
	cfg    Config

	newest  sharedRead
	watches watches

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
}

var _ store.Store = (*Store)(nil)

// Open starts or reaches etcd and returns when it answers. Close the store.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg.setDefaults()
	s := &Store{log: cfg.Log, cfg: cfg}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.newest.fetch = s.fetchRevision
	if err := s.connect(ctx); err != nil {
		s.cancel()
		return nil, err
	}
	if _, err := s.Revision(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("ask etcd: %w", err)
	}
	s.wg.Go(s.compactLoop)
	return s, nil
}

func (c *Config) setDefaults() {
	if c.Name == "" {
		c.Name = "karve"
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.History == 0 {
		c.History = 5 * time.Minute
	}
	if c.HistoryMin == 0 {
		c.HistoryMin = 5_000
	}
	if c.HistoryMax == 0 {
		c.HistoryMax = 100_000
	}
}

func (s *Store) connect(ctx context.Context) (err error) {
	if len(s.cfg.Endpoints) > 0 {
		s.client, err = dial(ctx, s.cfg)
		return err
	}
	if s.member, err = startMember(ctx, s.cfg); err != nil {
		return err
	}
	s.client = s.member.client()
	return nil
}

// Close stops what Open started and waits for it.
func (s *Store) Close() error {
	s.once.Do(func() {
		s.cancel()
		s.wg.Wait()
		_ = s.client.Close() // its context's end is all the error there is
		if s.member != nil {
			s.member.stop()
		}
	})
	return nil
}

// Fatal is closed when an embedded member has ended by itself (its disk failed, say): the process cannot go on. It is
// nil for an external cluster.
func (s *Store) Fatal() <-chan struct{} {
	if s.member == nil {
		return nil
	}
	return s.member.stopped()
}
