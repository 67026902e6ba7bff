// Package extension serves the kinds of CustomResourceDefinitions: it grants them their names, has the server serve them
// as soon as they are stored, and deletes their objects before a definition goes.
//
// Every replica of the API follows the definitions by itself and comes to the same end: what one has written already,
// the others find done.
package extension

import (
	"context"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/server"
	"karve.dev/karve/services/api/watch"
	"karve.dev/karve/services/api/webhook"
)

var gvkDefinition = apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition")

// Resources is what the extension needs of the request chain; *server.Server is one.
type Resources interface {
	// Collection returns where the objects of a kind are; nil when it is not served.
	Collection(gvk schema.GroupVersionKind) *watch.Collection
	Batch(ctx context.Context, gvk schema.GroupVersionKind, changes []server.Change) []error
	SetCustom(ctx context.Context, kinds []*registry.Kind) error
	DeleteAll(ctx context.Context, gvk schema.GroupVersionKind) error
}

// Config makes Extensions; Resources is required.
type Config struct {
	Resources Resources
	// BuiltIn are the kinds whose names no definition may take.
	BuiltIn []*registry.Kind
	// Webhooks calls the conversion webhooks; nil: there is no conversion by webhook.
	Webhooks *webhook.Client
	Log      *zap.Logger
}

// Extensions follows the definitions of a cluster.
type Extensions struct {
	config Config
	log    *zap.Logger
	synced chan struct{}
	docs   documents
	// life is the context of Run, in which conversion webhooks are called.
	life context.Context
}

// New returns Extensions that serve nothing before Run.
func New(config Config) *Extensions {
	x := &Extensions{config: config, log: config.Log, synced: make(chan struct{})}
	if x.log == nil {
		x.log = zap.NewNop()
	}
	return x
}

// Synced is closed when all definitions that were there at the start are served.
func (x *Extensions) Synced() <-chan struct{} { return x.synced }

// The pauses after something has failed.
const minRetry, maxRetry = 50 * time.Millisecond, 5 * time.Second

// Run follows the definitions until ctx ends.
func (x *Extensions) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	x.life = ctx
	g.Go(func() error { return x.followAll(ctx) })
	g.Go(func() error { return x.sweep(ctx) })
	return g.Wait()
}

// sweepEvery is how often the schemas are forgotten that nobody has used since.
const sweepEvery = 5 * time.Minute

func (x *Extensions) sweep(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			for _, k := range x.docs.of("", true) {
				v := k.New().(*Custom).version
				v.schema.Sweep()
				if v.converter != nil {
					v.converter.kept.sweep()
				}
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// followAll follows the definitions; where they are not served, it does nothing.
func (x *Extensions) followAll(ctx context.Context) error {
	definitions := x.config.Resources.Collection(gvkDefinition)
	if definitions == nil {
		close(x.synced)
		return nil
	}
	f := newFollower(x)
	defer f.stop()
	for delay := minRetry; ; delay = min(2*delay, maxRetry) {
		began := time.Now()
		err := f.follow(ctx, definitions)
		if ctx.Err() != nil || over(err) {
			return nil
		}
		x.log.Warn("following the CustomResourceDefinitions failed, trying again", zap.Error(err))
		if time.Since(began) > maxRetry {
			delay = minRetry
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil
		}
	}
}
