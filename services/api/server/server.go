// Package server is the API's request chain: authenticate → authorize → decode → default → mutate → validate → store →
// encode, with one file a verb. It serves ResourceService, DiscoveryService, SystemService and PodAccessService.
//
// Errors are Kubernetes StatusErrors until they leave through the interceptors.
package server

import (
	"context"
	"fmt"
	"sync/atomic"

	"go.uber.org/zap"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/authz"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/managedfields"
	"karve.dev/karve/services/api/quota"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/watch"
)

// Prefix begins every object's key in the store.
const Prefix = "/registry/"

// Authorizer decides who may do what; *authz.Authorizer is one.
type Authorizer interface {
	Authorize(ctx context.Context, attrs authz.Attributes) (allowed bool, reason string, err error)
}

// Hook takes part in the writes of some kinds: it may complete obj and adds ops that are committed together with it
// (address reservations, say). Obj is nil when old is deleted, old when obj is created. Plan is called again when the
// commit failed on an op of its own.
type Hook interface {
	Plan(ctx context.Context, obj, old registry.Object) ([]store.Op, error)
}

// FieldManager keeps the record of who set which fields, in metadata.managedFields of the objects that have one, and
// merges by it; *managedfields.Tracker is one.
type FieldManager interface {
	// Created records the author of a new object, Updated that of the differences between old and obj.
	Created(w managedfields.Write, obj registry.Object)
	Updated(w managedfields.Write, obj, old registry.Object)
	// Apply merges a patch into live, which it may change, and returns the result with its record.
	Apply(w managedfields.Write, live registry.Object, patch *managedfields.Patch, force bool) (registry.Object, error)
}

// Ledger commits writes together with what they take from the quotas of their namespace; *quota.Ledger is one.
type Ledger interface {
	// Commit is Store.Commit, or refuses the write.
	Commit(ctx context.Context, w *quota.Write, ops ...store.Op) (int64, error)
	// Check says whether Commit would refuse the write.
	Check(ctx context.Context, w *quota.Write) error
}

// Config makes a Server; all but Hooks are required.
type Config struct {
	Store      store.Store
	Cache      *watch.Cache
	Kinds      []*registry.Kind
	Authorizer Authorizer
	Admission  func(admission.Reader) admission.Chain
	Hooks      map[schema.GroupKind]Hook
	Ledger     Ledger
	// Fields keeps the record of who set what and serves apply.
	Fields FieldManager
	// Tokens signs what TokenRequests ask for.
	Tokens func() (*identity.Tokens, error)
	// Sources are where the objects of computed kinds come from.
	Sources map[schema.GroupKind]Source
	// ReviewToken and RulesFor answer reviews.
	ReviewToken func(ctx context.Context, token string, audiences []string) (identity.User, []string, error)
	RulesFor    func(user identity.User, namespace string) authorizationv1.SubjectRulesReviewStatus
	// Audiences are those of tokens that are asked for without any; empty: the tokens' issuer.
	Audiences []string
	// Anonymous says whether callers without credentials may ask for a path; nil: they may, within their rights.
	Anonymous func(path string) bool
	// Elsewhere tells which group versions other servers serve; may be nil.
	Elsewhere func(gv schema.GroupVersion) bool
	Log       *zap.Logger
}

// Server answers requests. It is safe for concurrent use.
type Server struct {
	apiv1.UnimplementedResourceServiceServer
	config    Config
	store     store.Store
	cache     *watch.Cache
	log       *zap.Logger
	admission admission.Chain
	kinds     atomic.Pointer[kindSet]
	stopping  chan struct{}
	watches   watches
}

// kindSet is what is served at one time: it is replaced, never changed; replaced is closed then.
type kindSet struct {
	byKind   map[schema.GroupVersionKind]*served
	order    []*served
	replaced chan struct{}
}

func newKindSet(size int) *kindSet {
	return &kindSet{byKind: make(map[schema.GroupVersionKind]*served, size), replaced: make(chan struct{})}
}

func (set *kindSet) add(sv *served) {
	set.byKind[sv.GroupVersionKind] = sv
	set.order = append(set.order, sv)
}

// served is one kind with the place where its objects are; collection is nil for kinds that are not stored.
type served struct {
	*registry.Kind
	collection *watch.Collection
	protobuf   bool
	forms      forms
	// written is the newest revision at which this process has written one of the kind.
	written atomic.Int64
	shared  sharedEvents
	answers answers
	// life ends when a custom kind is no longer served, or served differently; nil for the other kinds.
	life context.Context
	end  context.CancelFunc
}

// New returns a server for the kinds and adds them to the cache, which its owner runs.
func New(ctx context.Context, config Config) (*Server, error) {
	s := &Server{config: config, store: config.Store, cache: config.Cache, log: config.Log, stopping: make(chan struct{})}
	set := newKindSet(len(config.Kinds))
	for _, k := range config.Kinds {
		sv, err := s.serve(ctx, k)
		if err != nil {
			return nil, err
		}
		set.add(sv)
	}
	s.kinds.Store(set)
	s.admission = config.Admission(s)
	return s, nil
}

func (s *Server) serve(ctx context.Context, k *registry.Kind) (*served, error) {
	sv := &served{Kind: k, protobuf: codec.HasProtobuf(k.New()), forms: formsOf(k)}
	if !stored(k) {
		return sv, nil
	}
	var err error
	sv.collection, err = s.cache.Add(ctx, resourceOf(hubOf(k)))
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", k.Resource, err)
	}
	return sv, nil
}

func stored(k *registry.Kind) bool {
	if k.Computed {
		return false
	}
	if len(k.Verbs) == 0 {
		return true
	}
	for _, v := range k.Verbs {
		if v == "get" {
			return true
		}
	}
	return false
}

// hubOf is the kind in whose form a kind's objects are stored.
func hubOf(k *registry.Kind) *registry.Kind {
	if k.Form != nil {
		return k.Form.Hub
	}
	return k
}

// KeyPrefix returns what the keys of a kind's objects begin with.
func KeyPrefix(k *registry.Kind) string {
	group := k.StorageKind().Group
	if group == "" {
		group = "core"
	}
	return Prefix + group + "/" + k.Resource + "/"
}

// indexed are the selectable fields by which big collections are asked for.
var indexed = map[string][]string{
	"pods":     {"spec.nodeName"},
	"services": {"spec.clusterIP"},
}

func resourceOf(k *registry.Kind) watch.Resource {
	r := watch.Resource{Prefix: KeyPrefix(k), Namespaced: k.Namespaced, IndexedFields: indexed[k.Resource]}
	if k.Fields == nil {
		r.Attributes = func(value []byte) (watch.Attributes, error) {
			labels, err := codec.Labels(value)
			return watch.Attributes{Labels: labels}, err
		}
		return r
	}
	empty := k.New
	if k.Custom != nil && k.Custom.NewStored != nil {
		// The cache waits for nobody's webhook.
		empty = k.Custom.NewStored
	}
	r.Attributes = func(value []byte) (watch.Attributes, error) {
		obj := empty()
		if err := codec.Decode(value, 0, obj); err != nil {
			return watch.Attributes{}, err
		}
		return watch.Attributes{Labels: obj.GetLabels(), Fields: map[string]string(fieldSet(k, obj))}, nil
	}
	return r
}

func fieldSet(k *registry.Kind, obj registry.Object) fields.Set {
	if k.Fields == nil {
		return fields.Set{}
	}
	return k.Fields(obj)
}

// Stop ends the streams that would go on for ever. Watches end with the cache.
func (s *Server) Stop() { close(s.stopping) }

// Kinds returns what is served, and a channel that is closed when that is replaced.
func (s *Server) Kinds() (kinds []*registry.Kind, replaced <-chan struct{}) {
	set := s.kinds.Load()
	kinds = make([]*registry.Kind, len(set.order))
	for i, sv := range set.order {
		kinds[i] = sv.Kind
	}
	return kinds, set.replaced
}

// lookup returns how a kind is served; ok is false when it is not.
func (s *Server) lookup(gvk schema.GroupVersionKind) (*served, bool) {
	sv, ok := s.kinds.Load().byKind[gvk]
	return sv, ok
}
