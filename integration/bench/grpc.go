package main

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
)

// overGRPC speaks to the API service's own port. What it creates is JSON all the same; what it reads is protobuf.
type overGRPC struct{ api apiv1.ResourceServiceClient }

func (g *overGRPC) name() string { return "gRPC" }

func ref(kind, name string) *apiv1.ObjectRef {
	return &apiv1.ObjectRef{ApiVersion: "v1", Kind: kind, Namespace: ns, Name: name}
}

func as(encoding string) *apiv1.Representation {
	if encoding == "json" {
		return &apiv1.Representation{Encoding: apiv1.Encoding_ENCODING_JSON}
	}
	return &apiv1.Representation{Encoding: apiv1.Encoding_ENCODING_PROTOBUF}
}

func (g *overGRPC) create(ctx context.Context, kind string, body []byte) error {
	obj := &apiv1.Object{ApiVersion: "v1", Kind: kind, Encoding: apiv1.Encoding_ENCODING_JSON, Data: body}
	_, err := g.api.Create(ctx, &apiv1.CreateRequest{Ref: ref(kind, ""), Object: obj, As: as("protobuf")})
	return err
}

func (g *overGRPC) get(ctx context.Context, kind, name string) error {
	_, err := g.api.Get(ctx, &apiv1.GetRequest{Ref: ref(kind, name), As: as("protobuf")})
	return err
}

func (g *overGRPC) list(ctx context.Context, encoding string, opts metav1.ListOptions) (int, error) {
	res, err := g.api.List(ctx, &apiv1.ListRequest{
		Ref: ref("Pod", ""), LabelSelector: opts.LabelSelector, FieldSelector: opts.FieldSelector, ResourceVersion: opts.ResourceVersion, As: as(encoding),
	})
	return len(res.GetObject().GetData()), err
}

func (g *overGRPC) patch(ctx context.Context, name, body string) error {
	_, err := g.api.Patch(ctx, &apiv1.PatchRequest{Ref: ref("Pod", name), Type: apiv1.PatchType_PATCH_TYPE_MERGE, Patch: []byte(body), As: as("protobuf")})
	return err
}

func (g *overGRPC) watch(ctx context.Context, revision string, opened func(), event func([]byte)) error {
	stream, err := g.api.Watch(ctx, &apiv1.WatchRequest{Ref: ref("Pod", ""), ResourceVersion: revision, As: as("protobuf")})
	if err != nil {
		return err
	}
	if _, err := stream.Header(); err != nil {
		return err
	}
	opened()
	for {
		res, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, ev := range res.GetEvents() {
			event(ev.GetObject().GetData())
		}
	}
}
