// Package node is the API service's side of its nodes: it streams each node what it should run and balance, and takes
// status back in batches.
//
// Nothing is queued for a slow node. What changes only marks the names that a node must look at again; when the
// node's stream gets to send, it sends what is there by then.
package node

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	runtimev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/server"
	"karve.dev/karve/services/api/watch"
)

// The kinds that nodes are sent.
var (
	kindPod       = corev1.SchemeGroupVersion.WithKind("Pod")
	kindNode      = corev1.SchemeGroupVersion.WithKind("Node")
	kindConfigMap = corev1.SchemeGroupVersion.WithKind("ConfigMap")
	kindSecret    = corev1.SchemeGroupVersion.WithKind("Secret")
	kindClaim     = corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim")
	kindVolume    = corev1.SchemeGroupVersion.WithKind("PersistentVolume")
	kindService   = corev1.SchemeGroupVersion.WithKind("Service")
	kindSlice     = discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice")
	kindClass     = runtimev1.SchemeGroupVersion.WithKind("RuntimeClass")
)

// watched are the kinds whose changes the hub follows.
var watched = []schema.GroupVersionKind{kindPod, kindNode, kindConfigMap, kindSecret, kindClaim, kindVolume, kindService, kindSlice, kindClass}

// Objects is what the service needs of the resource server; *server.Server is one.
type Objects interface {
	// Sync returns when reads see every write acknowledged before the call.
	Sync(ctx context.Context) error
	Collection(gvk schema.GroupVersionKind) *watch.Collection
	Batch(ctx context.Context, gvk schema.GroupVersionKind, changes []server.Change) []error
}

// Service implements AssignmentService, StatusService and VolumeService.
type Service struct {
	nodev1.UnimplementedAssignmentServiceServer
	nodev1.UnimplementedStatusServiceServer
	nodev1.UnimplementedVolumeServiceServer
	objects Objects
	log     *zap.Logger
	hub     *hub
	acks    *Acks
}

// New returns the service. It serves streams while Run runs.
func New(objects Objects, log *zap.Logger) *Service {
	hub := newHub()
	s := &Service{objects: objects, log: log, hub: hub, acks: newAcks(hub.drains.signal)}
	for _, gvk := range watched {
		if c := objects.Collection(gvk); c != nil {
			s.hub.kinds[gvk] = &followed{gvk: gvk, collection: c}
		}
	}
	return s
}

// Register adds the services.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	nodev1.RegisterAssignmentServiceServer(r, s)
	nodev1.RegisterStatusServiceServer(r, s)
	nodev1.RegisterVolumeServiceServer(r, s)
}

// Acks returns what nodes have acknowledged.
func (s *Service) Acks() *Acks { return s.acks }

// Run follows the changes until ctx ends. The cache is ready before.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range s.hub.kinds {
		g.Go(func() error { return s.hub.follow(ctx, f) })
	}
	err := g.Wait()
	s.hub.close()
	return err
}

// checkCaller refuses everybody but the node itself and administrators.
func checkCaller(ctx context.Context, node string) error {
	user, _ := identity.UserFrom(ctx)
	if node == "" {
		return apierrors.NewBadRequest("the node's name must be given")
	}
	if name, ok := identity.NodeName(user); ok && name == node {
		return nil
	}
	if slices.Contains(user.Groups, identity.GroupMasters) {
		return nil
	}
	return apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, node, fmt.Errorf("User %q may not speak for the node", user.Name))
}

// ref names an object of one of the watched kinds.
type ref struct {
	gvk             schema.GroupVersionKind
	namespace, name string
}

func (r ref) compare(o ref) int {
	if c := strings.Compare(r.namespace, o.namespace); c != 0 {
		return c
	}
	return strings.Compare(r.name, o.name)
}
