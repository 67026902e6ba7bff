// Package client is the typed Go client of the API service: any kind of the Kubernetes scheme over ResourceService.
// Objects travel as protobuf; errors are Kubernetes StatusErrors (ask apierrors.IsNotFound and the like).
package client

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
)

// Object is any built-in kind: *corev1.Pod, *appsv1.Deployment, …
type Object interface {
	metav1.Object
	runtime.Object
}

// message is what k8s.io/api generates for every kind.
type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// Client reads and writes objects. It is safe for concurrent use. A call whose context has no deadline gets one of
// callTimeout; a Watch lasts as long as its context.
type Client struct {
	rpc     apiv1.ResourceServiceClient
	manager string
}

// New returns a client over a connection; manager is the field manager that its writes are recorded under.
func New(conn grpc.ClientConnInterface, manager string) *Client {
	return &Client{rpc: apiv1.NewResourceServiceClient(conn), manager: manager}
}

// callTimeout bounds calls whose caller sets no bound.
const callTimeout = 60 * time.Second

func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callTimeout)
}

// ListOptions chooses what List and Watch see. The zero value means everything.
type ListOptions struct {
	Namespace     string
	LabelSelector string
	FieldSelector string
}

// KindOf returns the group, version and kind under which the scheme knows obj's type.
func KindOf(obj runtime.Object) (schema.GroupVersionKind, error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(obj)
	if err != nil {
		return schema.GroupVersionKind{}, fmt.Errorf("kind of %T: %w", obj, err)
	}
	return kinds[0], nil
}

func ref(obj runtime.Object, namespace, name, subresource string) (*apiv1.ObjectRef, error) {
	gvk, err := KindOf(obj)
	if err != nil {
		return nil, err
	}
	return &apiv1.ObjectRef{ApiVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Namespace: namespace, Name: name, Subresource: subresource}, nil
}

func asProtobuf() *apiv1.Representation {
	return &apiv1.Representation{Encoding: apiv1.Encoding_ENCODING_PROTOBUF}
}

// Get reads one object into obj.
func (c *Client) Get(ctx context.Context, obj Object, namespace, name string) error {
	r, err := ref(obj, namespace, name, "")
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	res, err := c.rpc.Get(ctx, &apiv1.GetRequest{Ref: r, As: asProtobuf()})
	return decode(res, err, obj)
}

// List reads all matching objects into list, a *corev1.PodList or the like.
func (c *Client) List(ctx context.Context, list runtime.Object, opts ListOptions) error {
	gvk, err := KindOf(list)
	if err != nil {
		return err
	}
	kind, ok := cutList(gvk.Kind)
	if !ok {
		return fmt.Errorf("list into %T: not a list type", list)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	res, err := c.rpc.List(ctx, &apiv1.ListRequest{
		Ref:           &apiv1.ObjectRef{ApiVersion: gvk.GroupVersion().String(), Kind: kind, Namespace: opts.Namespace},
		LabelSelector: opts.LabelSelector, FieldSelector: opts.FieldSelector, As: asProtobuf(),
	})
	return decode(res, err, list)
}

func cutList(kind string) (string, bool) {
	if n := len(kind) - len("List"); n > 0 && kind[n:] == "List" {
		return kind[:n], true
	}
	return kind, false
}

// Create stores obj and reads back what was stored.
func (c *Client) Create(ctx context.Context, obj Object) error {
	return c.CreateSubresource(ctx, obj, obj, "", "")
}

// CreateSubresource posts body to a subresource of parent (a Binding to a pod, say); body takes the answer.
func (c *Client) CreateSubresource(ctx context.Context, parent Object, body runtime.Object, name, subresource string) error {
	r, err := ref(parent, parent.GetNamespace(), name, subresource)
	if err != nil {
		return err
	}
	env, err := encode(body)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	res, err := c.rpc.Create(ctx, &apiv1.CreateRequest{Ref: r, Object: env, Options: c.options(), As: asProtobuf()})
	return decode(res, err, body)
}

// Update replaces an object; its resourceVersion must be current (apierrors.IsConflict tells when not).
func (c *Client) Update(ctx context.Context, obj Object) error { return c.update(ctx, obj, "") }

// UpdateStatus replaces an object's status and nothing else.
func (c *Client) UpdateStatus(ctx context.Context, obj Object) error {
	return c.update(ctx, obj, "status")
}

// UpdateSubresource replaces the part of an object that a subresource of its form stands for ("approval").
func (c *Client) UpdateSubresource(ctx context.Context, obj Object, subresource string) error {
	return c.update(ctx, obj, subresource)
}

func (c *Client) update(ctx context.Context, obj Object, subresource string) error {
	r, err := ref(obj, obj.GetNamespace(), obj.GetName(), subresource)
	if err != nil {
		return err
	}
	env, err := encode(obj)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	res, err := c.rpc.Update(ctx, &apiv1.UpdateRequest{Ref: r, Object: env, Options: c.options(), As: asProtobuf()})
	return decode(res, err, obj)
}

var patchTypes = map[types.PatchType]apiv1.PatchType{
	types.JSONPatchType:           apiv1.PatchType_PATCH_TYPE_JSON,
	types.MergePatchType:          apiv1.PatchType_PATCH_TYPE_MERGE,
	types.StrategicMergePatchType: apiv1.PatchType_PATCH_TYPE_STRATEGIC_MERGE,
	types.ApplyYAMLPatchType:      apiv1.PatchType_PATCH_TYPE_APPLY,
}

// Patch changes the object that obj names and reads the outcome into obj. Subresource is "" for the object itself.
func (c *Client) Patch(ctx context.Context, obj Object, pt types.PatchType, patch []byte, subresource string) error {
	r, err := ref(obj, obj.GetNamespace(), obj.GetName(), subresource)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	res, err := c.rpc.Patch(ctx, &apiv1.PatchRequest{Ref: r, Type: patchTypes[pt], Patch: patch, Options: c.options(), As: asProtobuf()})
	return decode(res, err, obj)
}

// DeleteOptions narrows a delete. The zero value deletes in the background with the kind's own grace period.
type DeleteOptions struct {
	// GracePeriodSeconds overrides the object's own; 0 means now.
	GracePeriodSeconds *int64
	// Propagation is what happens to dependents; empty for the kind's default.
	Propagation metav1.DeletionPropagation
	// UID and ResourceVersion must match the stored object's where set.
	UID             types.UID
	ResourceVersion string
}

// Delete removes the object that obj names.
func (c *Client) Delete(ctx context.Context, obj Object, opts DeleteOptions) error {
	r, err := ref(obj, obj.GetNamespace(), obj.GetName(), "")
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, err = c.rpc.Delete(ctx, &apiv1.DeleteRequest{Ref: r, Options: &apiv1.DeleteOptions{
		GracePeriodSeconds: opts.GracePeriodSeconds, PropagationPolicy: string(opts.Propagation),
		PreconditionUid: string(opts.UID), PreconditionResourceVersion: opts.ResourceVersion,
	}})
	return apierr.FromGRPC(err)
}

func (c *Client) options() *apiv1.WriteOptions { return &apiv1.WriteOptions{FieldManager: c.manager} }

func encode(obj runtime.Object) (*apiv1.Object, error) {
	gvk, err := KindOf(obj)
	if err != nil {
		return nil, err
	}
	m, ok := obj.(message)
	if !ok {
		return nil, fmt.Errorf("encode %s: %T has no protobuf form", gvk.Kind, obj)
	}
	data, err := m.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", gvk.Kind, err)
	}
	return &apiv1.Object{ApiVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Encoding: apiv1.Encoding_ENCODING_PROTOBUF, Data: data}, nil
}

// decode reads a result into obj. A Status answer (as from a binding) leaves obj as it is.
func decode(res *apiv1.Result, err error, obj runtime.Object) error {
	if err != nil {
		return apierr.FromGRPC(err)
	}
	if res.GetObject().GetKind() == "Status" {
		return nil
	}
	return Decode(res.GetObject(), obj)
}

// Decode reads an envelope in protobuf encoding into obj, which is emptied first.
func Decode(env *apiv1.Object, obj runtime.Object) error {
	m, ok := obj.(interface {
		message
		Reset()
	})
	if !ok {
		return fmt.Errorf("decode %s: %T has no protobuf form", env.GetKind(), obj)
	}
	m.Reset()
	if err := m.Unmarshal(env.GetData()); err != nil {
		return fmt.Errorf("decode %s: %w", env.GetKind(), err)
	}
	return nil
}
