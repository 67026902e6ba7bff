package gateway

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/metadata"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/gateway/discovery"
	"karve.dev/karve/services/gateway/route"
)

// firstKinds is how long a request waits for the gateway to learn what the API serves.
const firstKinds = 5 * time.Second

// served is what the gateway knows about the API at one moment.
type served struct {
	table     *route.Table
	documents *discovery.Documents
	// others are the group versions of other servers.
	others map[string]*apiv1.AggregatedVersion
}

// kinds holds the latest set of served kinds.
type kinds struct {
	now   atomic.Pointer[served]
	ready chan struct{}
	once  sync.Once
}

func newKinds() *kinds { return &kinds{ready: make(chan struct{})} }

// wait returns what is served; nil when that is still unknown after a while.
func (k *kinds) wait(ctx context.Context) *served {
	if s := k.now.Load(); s != nil {
		return s
	}
	timeout := time.NewTimer(firstKinds)
	defer timeout.Stop()
	select {
	case <-k.ready:
	case <-timeout.C:
	case <-ctx.Done():
	}
	return k.now.Load()
}

// follow keeps the set current until ctx ends; a lost stream is opened again with backoff.
func (k *kinds) follow(ctx context.Context, api apiv1.DiscoveryServiceClient, log *zap.Logger) error {
	const least, most = 20 * time.Millisecond, 2 * time.Second
	delay := least
	for {
		err := k.stream(ctx, api, func() { delay = least })
		if ctx.Err() != nil {
			return nil
		}
		log.Debug("the stream of served kinds ended", zap.Error(err))
		select {
		case <-time.After(delay/2 + rand.N(delay)):
		case <-ctx.Done():
			return nil
		}
		delay = min(2*delay, most)
	}
}

func (k *kinds) stream(ctx context.Context, api apiv1.DiscoveryServiceClient, received func()) error {
	// On its own behalf, not on a client's.
	ctx = metadata.AppendToOutgoingContext(ctx, keyRemoteUser, identity.UserGateway)
	stream, err := api.WatchKinds(ctx, &apiv1.WatchKindsRequest{})
	if err != nil {
		return err
	}
	for {
		res, err := stream.Recv()
		if err != nil {
			return err
		}
		documents, err := discovery.New(res)
		if err != nil {
			return err
		}
		others := make(map[string]*apiv1.AggregatedVersion, len(res.GetAggregated()))
		for _, v := range res.GetAggregated() {
			others[route.APIVersion(v.GetGroup(), v.GetVersion())] = v
		}
		k.now.Store(&served{table: route.NewTable(res.GetKinds()), documents: documents, others: others})
		k.once.Do(func() { close(k.ready) })
		received()
	}
}
