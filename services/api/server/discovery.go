package server

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/authz"
	"karve.dev/karve/services/api/registry"
)

// OpenAPI returns the document of one group version ("" for the index) in the given major version of OpenAPI, with a
// tag that changes when the document does.
type OpenAPI func(groupVersion string, major int) (document []byte, etag string, err error)

// Discovery implements DiscoveryService.
type Discovery struct {
	apiv1.UnimplementedDiscoveryServiceServer
	server  *Server
	openAPI OpenAPI
	others  Others
}

// Others is what other servers serve; *aggregator.Aggregator is one.
type Others interface {
	// State returns the group versions of other servers, the order of all group versions, and a channel that is closed when
	// something changes.
	State() (versions []*apiv1.AggregatedVersion, order []string, changed <-chan struct{})
}

// NewDiscovery returns the discovery of what a server and others serve; openAPI and others may be nil.
func NewDiscovery(s *Server, openAPI OpenAPI, others Others) *Discovery {
	return &Discovery{server: s, openAPI: openAPI, others: others}
}

// WatchKinds implements DiscoveryService.
func (d *Discovery) WatchKinds(_ *apiv1.WatchKindsRequest, stream grpc.ServerStreamingServer[apiv1.WatchKindsResponse]) error {
	ctx := stream.Context()
	if err := d.authorize(ctx, "/apis"); err != nil {
		return err
	}
	for {
		set := d.server.kinds.Load()
		res := &apiv1.WatchKindsResponse{Kinds: kindInfos(set)}
		var changed <-chan struct{}
		if d.others != nil {
			res.Aggregated, res.Order, changed = d.others.State()
		}
		if err := stream.Send(res); err != nil {
			return err
		}
		select {
		case <-set.replaced:
		case <-changed:
		case <-d.server.stopping:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// GetOpenAPI implements DiscoveryService.
func (d *Discovery) GetOpenAPI(ctx context.Context, req *apiv1.GetOpenAPIRequest) (*apiv1.GetOpenAPIResponse, error) {
	if err := d.authorize(ctx, fmt.Sprintf("/openapi/v%d", req.GetMajor())); err != nil {
		return nil, err
	}
	if d.openAPI == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "openapi"}, req.GetGroupVersion())
	}
	document, etag, err := d.openAPI(req.GetGroupVersion(), int(req.GetMajor()))
	if err != nil {
		return nil, fmt.Errorf("OpenAPI v%d of %q: %w", req.GetMajor(), req.GetGroupVersion(), err)
	}
	return &apiv1.GetOpenAPIResponse{Document: document, Etag: etag}, nil
}

// authorize asks for what the same question over REST would need.
func (d *Discovery) authorize(ctx context.Context, path string) error {
	user, _ := identity.UserFrom(ctx)
	return d.server.authorize(ctx, authz.Attributes{User: user, Verb: "get", Path: path})
}

var allVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

func kindInfos(set *kindSet) []*apiv1.KindInfo {
	preferred := map[string]string{}
	for _, sv := range set.order {
		// Kinds stand in the order of preference: a group's first version is the one to use.
		if preferred[sv.Group] == "" {
			preferred[sv.Group] = sv.Version
		}
	}
	out := make([]*apiv1.KindInfo, len(set.order))
	for i, sv := range set.order {
		out[i] = kindInfo(sv.Kind, preferred[sv.Group] == sv.Version)
	}
	return out
}

func kindInfo(k *registry.Kind, preferred bool) *apiv1.KindInfo {
	verbs := k.Verbs
	if len(verbs) == 0 {
		verbs = allVerbs
	}
	info := &apiv1.KindInfo{
		Group: k.Group, Version: k.Version, Kind: k.Kind, ListKind: k.ListKindName(),
		Resource: k.Resource, Singular: k.Singular, ShortNames: k.ShortNames, Categories: k.Categories,
		Namespaced: k.Namespaced, Verbs: verbs, Preferred: preferred,
	}
	sub := func(name string, gvk schema.GroupVersionKind, verbs ...string) {
		info.Subresources = append(info.Subresources, &apiv1.SubresourceInfo{Name: name, Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Verbs: verbs})
	}
	if k.PrepareStatus != nil {
		sub("status", schema.GroupVersionKind{}, "get", "patch", "update")
	}
	if k.Scale != nil {
		sub("scale", gvkScale, "get", "patch", "update")
	}
	for _, s := range k.Subresources {
		sub(s.Name, s.Kind, s.Verbs...)
	}
	slices.SortFunc(info.Subresources, func(a, b *apiv1.SubresourceInfo) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return info
}
