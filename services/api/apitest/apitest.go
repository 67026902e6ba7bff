// Package apitest runs a whole API service over the memory store, for the tests of everything that is its client.
package apitest

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/store/memstore"
)

// Cluster is a running API service with nothing else: no controller, no scheduler, no node.
type Cluster struct {
	// API is the service, Store what it keeps things in.
	API   *api.Server
	Store store.Store
	// Identity is the cluster's certificate authority and token signer, below the test's temporary folder.
	Identity *identity.Cluster
	// Server reaches the API in process.
	Server *transport.Server

	t testing.TB
}

// Admin may do everything.
var Admin = identity.User{Name: "kubernetes-admin", Groups: []string{identity.GroupMasters}}

// readyWithin bounds the start.
const readyWithin = 30 * time.Second

// Option changes the API service's configuration.
type Option func(*api.Config)

// Start runs an API service until the test ends. The namespaces are there, with a ServiceAccount "default" in
// namespace default, which a controller makes elsewhere.
func Start(t testing.TB, options ...Option) *Cluster {
	t.Helper()
	c := &Cluster{t: t, Store: memstore.New()}
	var err error
	if c.Identity, err = identity.LoadOrCreate(t.TempDir(), identity.Options{Name: "test"}); err != nil {
		t.Fatalf("make the cluster's keys: %v", err)
	}
	log := zap.NewNop()
	if testing.Verbose() {
		log = zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel))
	}
	config := api.Config{Store: c.Store, Tokens: c.Identity.Tokens, Log: log}
	if config.FrontProxy, err = c.Identity.FrontProxy(); err != nil {
		t.Fatalf("make the front proxy's keys: %v", err)
	}
	for _, o := range options {
		o(&config)
	}
	if c.API, err = api.New(config); err != nil {
		t.Fatalf("make the API service: %v", err)
	}
	c.Server = transport.NewServer(c.API.Interceptors())
	c.API.Register(c.Server)
	c.run()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: metav1.NamespaceDefault}}
	if err := c.Client(Admin).Create(t.Context(), account); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("make the default service account: %v", err)
	}
	return c
}

func (c *Cluster) run() {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.API.Run(ctx); err != nil {
			c.t.Errorf("the API service failed: %v", err)
		}
	})
	c.t.Cleanup(func() {
		cancel()
		wg.Wait()
		c.Server.Wait()
		_ = c.Store.Close()
	})
	select {
	case <-c.API.Ready():
	case <-time.After(readyWithin):
		c.t.Fatalf("the API service was not ready within %v", readyWithin)
	}
}

// Conn returns a connection whose calls come from user.
func (c *Cluster) Conn(user identity.User) grpc.ClientConnInterface { return c.Server.Conn(user) }

// Client returns a client whose calls come from user.
func (c *Cluster) Client(user identity.User) *client.Client { return client.New(c.Conn(user), "test") }

// Namespace makes a namespace in which pods can be created: with the ServiceAccount that a controller makes elsewhere.
func (c *Cluster) Namespace(name string) {
	c.t.Helper()
	admin := c.Client(Admin)
	for _, obj := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: name}},
	} {
		if err := admin.Create(c.t.Context(), obj); err != nil {
			c.t.Fatalf("make namespace %s: %v", name, err)
		}
	}
}

// Informers runs a set of informers of user until the test ends; set it up in fn. It returns when all are synced.
func (c *Cluster) Informers(user identity.User, fn func(*informer.Set)) {
	c.t.Helper()
	set := informer.NewSet(c.Client(user), zap.NewNop())
	fn(set)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = set.Run(ctx) })
	c.t.Cleanup(func() { cancel(); wg.Wait() })
	wait, stop := context.WithTimeout(ctx, readyWithin)
	defer stop()
	if err := set.WaitSynced(wait); err != nil {
		c.t.Fatalf("informers: %v", err)
	}
}
