package etcdstore

import (
	"context"
	"errors"
	"expvar"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	quotaBytes      = 8 << 30
	maxRequestBytes = 8 << 20
	// segmentBytes is how long a file of the log is. etcd reserves two on disk and reads the last ones when it starts, so
	// that its own 64 MiB would be what a small cluster mostly consists of.
	segmentBytes = 16 << 20
	// aloneURL is the peer address of a member that is alone. etcd wants one to make the member's identity from; nobody
	// listens there, and a member that gets company is given a real one.
	aloneURL = "https://localhost:2380"
)

// smallSegments guards the setting, which etcd has for the process only.
var smallSegments sync.Once

// member is the embedded etcd server.
type member struct{ etcd *embed.Etcd }

// startMember starts the embedded server and waits until it has a leader.
func startMember(ctx context.Context, cfg Config) (*member, error) {
	if cfg.DataDir == "" {
		return nil, errors.New("etcdstore: a data directory or endpoints are needed")
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	if err := os.Chmod(cfg.DataDir, 0o700); err != nil { // it may have been there before
		return nil, fmt.Errorf("close the data directory to others: %w", err)
	}
	ec, err := embedConfig(cfg)
	if err != nil {
		return nil, err
	}
	smallSegments.Do(func() { wal.SegmentSizeBytes = segmentBytes })
	etcd, err := embed.StartEtcd(ec)
	if err != nil {
		return nil, fmt.Errorf("start etcd in %s: %w", cfg.DataDir, err)
	}
	m := &member{etcd: etcd}
	if err := m.waitReady(ctx, cfg.Cluster == nil); err != nil {
		m.stop()
		return nil, fmt.Errorf("start etcd in %s: %w", cfg.DataDir, err)
	}
	return m, nil
}

// waitReady waits until the server has a leader and answers. A member that is alone need not wait for the random time
// after which members stand for election: it is told to stand at once.
func (m *member) waitReady(ctx context.Context, alone bool) error {
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	if !alone {
		poll.Stop()
	}
	server := m.etcd.Server
	for {
		select {
		case <-server.ReadyNotify():
			return nil
		case <-server.StopNotify():
			return errors.New("it stopped while starting")
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
			if server.Leader() != 0 || !m.replayed() {
				continue
			}
			id, kind := uint64(server.MemberID()), raftpb.MessageType_MsgTimeoutNow
			if err := server.Process(ctx, &raftpb.Message{Type: &kind, From: &id, To: &id}); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// replayed reports whether the member has gone through its log, and its raft knows that. Asked to stand before, raft
// would look for changes of members in entries that it takes for new and the server has thrown away already, and panic.
// What raft knows is published for the newest member of the process.
func (m *member) replayed() bool {
	published, ok := expvar.Get("raft.status").(expvar.Func)
	if !ok {
		return false
	}
	status, ok := published.Value().(raft.Status)
	return ok && status.ID == uint64(m.etcd.Server.MemberID()) && status.Applied >= status.GetCommit() && status.Applied >= m.etcd.Server.CommittedIndex()
}

func embedConfig(cfg Config) (*embed.Config, error) {
	ec := embed.NewConfig()
	ec.Name, ec.Dir = cfg.Name, cfg.DataDir
	ec.ListenClientUrls, ec.AdvertiseClientUrls = nil, nil
	ec.EnableGRPCGateway = false
	ec.QuotaBackendBytes = quotaBytes
	ec.MaxRequestBytes = maxRequestBytes
	ec.BackendFreelistType = "map"
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(etcdLogger(cfg.Log))
	if cfg.Cluster == nil {
		alone(ec)
		return ec, nil
	}
	return ec, cfg.Cluster.apply(ec)
}

// alone tunes for a member without peers: nobody waits for its heartbeats, so that it need not wake up often. What is
// acknowledged is in the log on disk; the database follows it in batches, and a restart repeats what a batch had not
// reached. The log's entries that are kept in memory must be more than one round of applying takes (1 MiB), because
// a member that stands for election looks through those.
func alone(ec *embed.Config) {
	u, _ := url.Parse(aloneURL) // a constant
	ec.ListenPeerUrls, ec.AdvertisePeerUrls = nil, []url.URL{*u}
	ec.InitialCluster = ec.Name + "=" + aloneURL
	ec.TickMs, ec.ElectionMs = 500, 2_500
	ec.BackendBatchInterval = 250 * time.Millisecond
	ec.SnapshotCatchUpEntries, ec.SnapshotCount = 5_000, 5_000
}

func (c *ClusterConfig) apply(ec *embed.Config) error {
	if c.CertFile == "" || c.KeyFile == "" || c.CAFile == "" {
		return errors.New("etcdstore: members of a cluster need certificates")
	}
	listen, err := parseHTTPS(c.ListenPeer)
	if err != nil {
		return err
	}
	advertise, err := parseHTTPS(c.AdvertisePeer)
	if err != nil {
		return err
	}
	ec.ListenPeerUrls, ec.AdvertisePeerUrls = []url.URL{*listen}, []url.URL{*advertise}
	var members []string
	for name, peer := range c.Members {
		members = append(members, name+"="+peer)
	}
	slices.Sort(members)
	ec.InitialCluster = strings.Join(members, ",")
	if c.Join {
		ec.ClusterState = embed.ClusterStateFlagExisting
	}
	ec.PeerTLSInfo.CertFile, ec.PeerTLSInfo.KeyFile, ec.PeerTLSInfo.TrustedCAFile = c.CertFile, c.KeyFile, c.CAFile
	ec.PeerTLSInfo.ClientCertAuth = true
	return nil
}

func parseHTTPS(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("peer address: %w", err)
	}
	if u.Scheme != "https" {
		return nil, fmt.Errorf("peer address %q: only https is allowed", s)
	}
	return u, nil
}

func (m *member) client() *clientv3.Client { return v3client.New(m.etcd.Server) }

func (m *member) watchable() mvcc.WatchableKV { return m.etcd.Server.Watchable() }

func (m *member) stopped() <-chan struct{} { return m.etcd.Server.StopNotify() }

// rules reports whether this member is the only voter. What it has applied is then everything that was ever
// acknowledged, so that its own state is a linearizable read.
func (m *member) rules() bool {
	members := m.etcd.Server.Cluster().Members()
	return len(members) == 1 && members[0].ID == m.etcd.Server.MemberID()
}

func (m *member) revision() int64 { return m.etcd.Server.KV().Rev() }

// stop waits until the server has ended and its files are closed.
func (m *member) stop() {
	m.etcd.Close()
	select {
	case <-m.etcd.Server.StopNotify():
	case <-time.After(10 * time.Second): // it never started
	}
}

// etcdLogger passes etcd's warnings on, but for those that are about how Karve embeds it on purpose.
func etcdLogger(log *zap.Logger) *zap.Logger {
	expected := []string{
		"Running http and grpc server on single port", "simple token is not cryptographically signed",
		"Failed to detect schema version", // on the first start, before the first snapshot
		"server has stopped; skipping GoAttach",
		"failed to publish local member to cluster through raft", // when stopped at once, and then a thousand times
	}
	return log.Named("etcd").WithOptions(zap.IncreaseLevel(zap.WarnLevel), zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return &quietCore{Core: core, expected: expected}
	}))
}

// quietCore drops messages that begin with an expected text.
type quietCore struct {
	zapcore.Core
	expected []string
}

// With implements zapcore.Core.
func (c *quietCore) With(fields []zapcore.Field) zapcore.Core {
	return &quietCore{Core: c.Core.With(fields), expected: c.expected}
}

// Check implements zapcore.Core.
func (c *quietCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	for _, text := range c.expected {
		if strings.HasPrefix(e.Message, text) {
			return ce
		}
	}
	return c.Core.Check(e, ce)
}
