// Package aggregator makes one API of many servers: it follows the APIServices, tells which of the servers that they name
// can be used and what these serve, connects to them, and keeps an APIService for each group version that the API service
// serves itself. The gateway passes requests on.
//
// Every replica of the API does this by itself and comes to the same end.
package aggregator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/reach"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/server"
)

var gvkAPIService = apiregistrationv1.SchemeGroupVersion.WithKind("APIService")

// Resources is what the aggregator needs of the request chain; *server.Server is one.
type Resources interface {
	reach.Objects
	Kinds() (kinds []*registry.Kind, replaced <-chan struct{})
	InsertAs(ctx context.Context, gvk schema.GroupVersionKind, obj registry.Object) error
	Batch(ctx context.Context, gvk schema.GroupVersionKind, changes []server.Change) []error
}

// Services connects to Services; *reach.Reacher does.
type Services interface {
	Dial(ctx context.Context, namespace, service string, port int32) (net.Conn, error)
	Ready(service *corev1.Service, port int32) (slices, endpoints int, err error)
}

// Config makes an Aggregator.
type Config struct {
	Resources Resources
	Services  Services
	// Certificate proves to other servers that the users named to them are who called; nil: nothing does.
	Certificate func() (*tls.Certificate, error)
	// Started is closed when the time has come to make APIServices: it is nothing that a start waits for.
	Started <-chan struct{}
	Log     *zap.Logger
}

// Aggregator follows the APIServices of a cluster. It is safe for concurrent use.
type Aggregator struct {
	config Config
	log    *zap.Logger
	// kick wakes what reconciles.
	kick chan struct{}

	mu sync.Mutex
	// known are all APIServices by name; nil before they are.
	known   map[string]*apiService
	order   []string
	servers map[string]*remote
	changed chan struct{}
}

// New returns an Aggregator that knows nothing before Run.
func New(config Config) *Aggregator {
	a := &Aggregator{config: config, log: config.Log, kick: make(chan struct{}, 1), servers: map[string]*remote{}, changed: make(chan struct{})}
	if a.log == nil {
		a.log = zap.NewNop()
	}
	return a
}

// State implements server.Others.
func (a *Aggregator) State() (versions []*apiv1.AggregatedVersion, order []string, changed <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(a.servers)) {
		s := a.servers[name]
		versions = append(versions, &apiv1.AggregatedVersion{
			Group: s.spec.Group, Version: s.spec.Version, ApiService: name, Available: s.state.available, Kinds: s.state.kinds,
		})
	}
	return versions, a.order, a.changed
}

// Serves reports whether another server serves a group version.
func (a *Aggregator) Serves(gv schema.GroupVersion) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.servers[nameOf(gv)] != nil
}

// tell wakes who waits for changes. a.mu is held.
func (a *Aggregator) tell() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// Run follows the APIServices until ctx ends; where they are not served, it does nothing.
func (a *Aggregator) Run(ctx context.Context) error {
	if a.config.Resources.Collection(gvkAPIService) == nil {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.follow(ctx) })
	g.Go(func() error { return a.followKinds(ctx) })
	g.Go(func() error { return a.reconcileAll(ctx) })
	return g.Wait()
}

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// followKinds wakes what reconciles whenever the API service serves something else.
func (a *Aggregator) followKinds(ctx context.Context) error {
	for {
		_, replaced := a.config.Resources.Kinds()
		wake(a.kick)
		select {
		case <-replaced:
		case <-ctx.Done():
			return nil
		}
	}
}

// retryAfter is the pause after something could not be stored.
const retryAfter = time.Second

func (a *Aggregator) reconcileAll(ctx context.Context) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	started := a.config.Started
	var again <-chan time.Time
	for {
		select {
		case <-a.kick:
		case <-again:
		case <-started:
			started = nil
		case <-ctx.Done():
			return nil
		}
		again = nil
		if err := a.reconcile(ctx, &workers); err != nil && ctx.Err() == nil {
			a.log.Warn("keeping the APIServices failed, trying again", zap.Error(err))
			again = time.After(retryAfter)
		}
	}
}

// reconcile brings servers, order and local APIServices in step with what is known.
func (a *Aggregator) reconcile(ctx context.Context, workers *sync.WaitGroup) error {
	kinds, _ := a.config.Resources.Kinds()
	a.mu.Lock()
	known := a.known
	if known == nil {
		a.mu.Unlock()
		return nil
	}
	begun := a.setServers(ctx, known)
	order := orderOf(kinds, known)
	if len(begun) > 0 || !slices.Equal(order, a.order) {
		a.order = order
		a.tell()
	}
	a.mu.Unlock()
	for _, s := range begun {
		workers.Go(func() { a.watchOver(s) })
	}
	select {
	case <-a.config.Started:
		return a.carryOut(ctx, plans(kinds, known))
	default:
		return nil
	}
}

// setServers ends what watches over servers that are gone or have changed and returns those to begin with. a.mu is held.
func (a *Aggregator) setServers(ctx context.Context, known map[string]*apiService) (begun []*remote) {
	for name, s := range a.servers {
		if now := known[name]; now == nil || !s.same(now) {
			s.end()
			delete(a.servers, name)
			if now == nil || now.Spec.Service == nil {
				a.tell()
			}
		}
	}
	for name, obj := range known {
		if obj.Spec.Service != nil && a.servers[name] == nil {
			s := a.newRemote(ctx, obj)
			a.servers[name] = s
			begun = append(begun, s)
		}
	}
	return begun
}

// parallelInserts bounds the writes under way in a new cluster: they share the store's commits.
const parallelInserts = 16

func (a *Aggregator) carryOut(ctx context.Context, p plan) error {
	var inserts errgroup.Group
	inserts.SetLimit(parallelInserts)
	for _, obj := range p.insert {
		inserts.Go(func() error {
			if err := a.config.Resources.InsertAs(ctx, gvkAPIService, obj); err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("make APIService %s: %w", obj.Name, err)
			}
			return nil
		})
	}
	errs := []error{inserts.Wait()}
	var changes []server.Change
	for _, name := range p.remove {
		changes = append(changes, server.Change{Name: name, Do: func(old registry.Object) (server.Outcome, error) {
			// Somebody may have made it his own meanwhile.
			return server.Outcome{Next: old, Remove: old.(*apiService).Spec.Service == nil}, nil
		}})
	}
	for _, name := range p.local {
		changes = append(changes, a.condition(name, nil, registry.LocalAPIService(metav1.Now().Rfc3339Copy())))
	}
	for _, err := range a.config.Resources.Batch(ctx, gvkAPIService, changes) {
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("change an APIService: %w", err))
		}
	}
	return errors.Join(errs...)
}

// condition is a change of an APIService's status, for as long as the APIService names the server that it is about.
func (a *Aggregator) condition(name string, of *remote, want apiregistrationv1.APIServiceCondition) server.Change {
	return server.Change{Name: name, Do: func(old registry.Object) (server.Outcome, error) {
		obj := old.(*apiService)
		if same := of == nil && obj.Spec.Service == nil || of != nil && of.same(obj); same && !hasCondition(obj, want) {
			setCondition(obj, want)
		}
		return server.Outcome{Next: obj}, nil
	}}
}
