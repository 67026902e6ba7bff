package gateway

import (
	"context"

	"google.golang.org/grpc/metadata"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/gateway/media"
	"karve.dev/karve/services/gateway/route"
)

// actions carry out each verb but watch.
var actions = [...]func(*Gateway, *call) (*apiv1.Result, error){
	route.Get:              (*Gateway).get,
	route.List:             (*Gateway).list,
	route.Create:           (*Gateway).create,
	route.Update:           (*Gateway).update,
	route.Patch:            (*Gateway).patch,
	route.Delete:           (*Gateway).delete,
	route.DeleteCollection: (*Gateway).deleteCollection,
}

func (g *Gateway) get(c *call) (*apiv1.Result, error) {
	return g.resources.Get(c.ctx, &apiv1.GetRequest{Ref: c.ref(), ResourceVersion: c.query.Get("resourceVersion"), As: c.as})
}

func (g *Gateway) list(c *call) (*apiv1.Result, error) {
	limit, err := integer(c.query, "limit")
	if err != nil {
		return nil, err
	}
	c.as.InPieces = c.accepted.Type == media.JSON && !pretty(c.r)
	return g.resources.List(c.ctx, &apiv1.ListRequest{
		Ref: c.ref(), LabelSelector: c.query.Get("labelSelector"), FieldSelector: c.query.Get("fieldSelector"), Limit: limit, Continue: c.query.Get("continue"),
		ResourceVersion: c.query.Get("resourceVersion"), ResourceVersionMatch: c.query.Get("resourceVersionMatch"), As: c.as,
	})
}

func (g *Gateway) create(c *call) (*apiv1.Result, error) {
	options, err := writeOptions(c.query, route.Create, 0)
	if err != nil {
		return nil, err
	}
	obj, err := c.object(options)
	if err != nil {
		return nil, err
	}
	return g.resources.Create(c.ctx, &apiv1.CreateRequest{Ref: c.ref(), Object: obj, Options: options, As: c.as})
}

func (g *Gateway) update(c *call) (*apiv1.Result, error) {
	options, err := writeOptions(c.query, route.Update, 0)
	if err != nil {
		return nil, err
	}
	obj, err := c.object(options)
	if err != nil {
		return nil, err
	}
	return g.resources.Update(c.writer(options), &apiv1.UpdateRequest{Ref: c.ref(), Object: obj, Options: options, As: c.as})
}

func (g *Gateway) patch(c *call) (*apiv1.Result, error) {
	t, ok := media.PatchTypeOf(c.r.Header.Get("Content-Type"))
	if !ok {
		return nil, unsupportedMediaType("the body of the request was in an unknown format - accepted media types include: " + media.SupportedPatchTypes)
	}
	options, err := writeOptions(c.query, route.Patch, t)
	if err != nil {
		return nil, err
	}
	return g.resources.Patch(c.writer(options), &apiv1.PatchRequest{Ref: c.ref(), Type: t, Patch: c.body, Options: options, Force: isTrue(c.query, "force"), As: c.as})
}

// keyRemoteAgent tells the API who writes when the client does not name itself as a field manager.
const keyRemoteAgent = "x-remote-user-agent"

// writer returns the context of a change of an object that may have a record of who set what.
func (c *call) writer(options *apiv1.WriteOptions) context.Context {
	agent := c.r.Header.Get("User-Agent")
	if options.GetFieldManager() != "" || agent == "" || !printable(agent) {
		return c.ctx
	}
	return metadata.AppendToOutgoingContext(c.ctx, keyRemoteAgent, agent)
}

func (g *Gateway) delete(c *call) (*apiv1.Result, error) {
	options, err := c.deleteOptions()
	if err != nil {
		return nil, err
	}
	return g.resources.Delete(c.ctx, &apiv1.DeleteRequest{Ref: c.ref(), Options: options, As: c.as})
}

func (g *Gateway) deleteCollection(c *call) (*apiv1.Result, error) {
	options, err := c.deleteOptions()
	if err != nil {
		return nil, err
	}
	return g.resources.DeleteCollection(c.ctx, &apiv1.DeleteCollectionRequest{
		Ref: c.ref(), LabelSelector: c.query.Get("labelSelector"), FieldSelector: c.query.Get("fieldSelector"), Options: options, As: c.as,
	})
}

func (c *call) deleteOptions() (*apiv1.DeleteOptions, error) {
	t, ok := media.BodyType(c.r.Header.Get("Content-Type"))
	if !ok && len(c.body) > 0 {
		return nil, apierrors.NewBadRequest("the body of the delete is in none of: " + media.SupportedContentTypes)
	}
	return deleteOptions(c.query, t, c.body)
}
