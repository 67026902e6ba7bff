package inventory

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/client"
)

// callTimeout bounds a call whose caller has set no deadline.
const callTimeout = 30 * time.Second

func metadataForm() *apiv1.Representation {
	return &apiv1.Representation{Encoding: apiv1.Encoding_ENCODING_JSON, Form: apiv1.Form_FORM_METADATA}
}

// Metadata reads an object's metadata, as new as any write before the call.
func (inv *Inventory) Metadata(ctx context.Context, apiVersion, kind, namespace, name string) (*metav1.PartialObjectMetadata, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := inv.rpc.Get(ctx, &apiv1.GetRequest{Ref: &apiv1.ObjectRef{ApiVersion: apiVersion, Kind: kind, Namespace: namespace, Name: name}, As: metadataForm()})
	if err != nil {
		return nil, apierr.FromGRPC(err)
	}
	out := &metav1.PartialObjectMetadata{}
	if err := json.Unmarshal(res.GetObject().GetData(), out); err != nil {
		return nil, fmt.Errorf("decode the metadata of a %s: %w", kind, err)
	}
	return out, nil
}

// List reads the metadata of at most limit (0: all) objects of a kind in a namespace.
func (inv *Inventory) List(ctx context.Context, kind *Kind, namespace string, limit int64) ([]metav1.PartialObjectMetadata, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := inv.rpc.List(ctx, &apiv1.ListRequest{Ref: &apiv1.ObjectRef{ApiVersion: kind.APIVersion(), Kind: kind.Kind, Namespace: namespace}, Limit: limit, As: metadataForm()})
	if err != nil {
		return nil, apierr.FromGRPC(err)
	}
	out := metav1.PartialObjectMetadataList{}
	if err := json.Unmarshal(res.GetObject().GetData(), &out); err != nil {
		return nil, fmt.Errorf("decode a list of %s: %w", kind.Resource, err)
	}
	return out.Items, nil
}

// ref names an object.
func (o *Object) ref() *apiv1.ObjectRef {
	return &apiv1.ObjectRef{ApiVersion: o.Kind.APIVersion(), Kind: o.Kind.Kind, Namespace: o.Namespace, Name: o.Name}
}

// Delete deletes an object, if it is still the one with this uid.
func (inv *Inventory) Delete(ctx context.Context, obj *Object, propagation metav1.DeletionPropagation, resourceVersion string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := inv.rpc.Delete(ctx, &apiv1.DeleteRequest{Ref: obj.ref(), Options: &apiv1.DeleteOptions{
		PropagationPolicy: string(propagation), PreconditionUid: obj.UID, PreconditionResourceVersion: resourceVersion,
	}})
	return apierr.FromGRPC(err)
}

// DeleteAll deletes what a namespace has of a kind.
func (inv *Inventory) DeleteAll(ctx context.Context, kind *Kind, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := inv.rpc.DeleteCollection(ctx, &apiv1.DeleteCollectionRequest{
		Ref:     &apiv1.ObjectRef{ApiVersion: kind.APIVersion(), Kind: kind.Kind, Namespace: namespace},
		Options: &apiv1.DeleteOptions{PropagationPolicy: string(metav1.DeletePropagationBackground)},
	})
	return apierr.FromGRPC(err)
}

// PatchMetadata changes an object's metadata with a merge patch, if it is still at the revision that change was made
// from; change returns nil for nothing to do. It reads the newest state first and tries again on a conflict.
func (inv *Inventory) PatchMetadata(ctx context.Context, obj *Object, change func(*metav1.ObjectMeta) map[string]any) error {
	const tries = 5
	var err error
	for range tries {
		var now *metav1.PartialObjectMetadata
		if now, err = inv.Metadata(ctx, obj.Kind.APIVersion(), obj.Kind.Kind, obj.Namespace, obj.Name); err != nil {
			return err
		}
		if now.UID != types.UID(obj.UID) {
			return nil
		}
		fields := change(&now.ObjectMeta)
		if fields == nil {
			return nil
		}
		fields["resourceVersion"] = now.ResourceVersion
		if err = inv.patch(ctx, obj, map[string]any{"metadata": fields}); !apierrors.IsConflict(err) {
			return err
		}
	}
	return err
}

func (inv *Inventory) patch(ctx context.Context, obj *Object, patch any) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("encode a patch: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = inv.rpc.Patch(ctx, &apiv1.PatchRequest{Ref: obj.ref(), Type: apiv1.PatchType_PATCH_TYPE_MERGE, Patch: body, As: metadataForm()})
	return apierr.FromGRPC(err)
}

// statusOf is the error that an ERROR event carries.
func statusOf(env *apiv1.Object) error {
	st := metav1.Status{}
	var err error
	if env.GetEncoding() == apiv1.Encoding_ENCODING_JSON {
		err = json.Unmarshal(env.GetData(), &st)
	} else {
		err = st.Unmarshal(env.GetData())
	}
	if err != nil {
		return fmt.Errorf("decode the status that ended a watch: %w", err)
	}
	return &apierrors.StatusError{ErrStatus: st}
}

// UpdateSubresource writes a subresource of a cluster-scoped built-in object, which is sent whole.
func (inv *Inventory) UpdateSubresource(ctx context.Context, obj interface {
	metav1.Object
	runtime.Object
	Marshal() ([]byte, error)
}, subresource string) error {
	gvk, err := client.KindOf(obj)
	if err != nil {
		return err
	}
	data, err := obj.Marshal()
	if err != nil {
		return fmt.Errorf("encode a %s: %w", gvk.Kind, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = inv.rpc.Update(ctx, &apiv1.UpdateRequest{
		Ref:    &apiv1.ObjectRef{ApiVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Name: obj.GetName(), Subresource: subresource},
		Object: &apiv1.Object{ApiVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Encoding: apiv1.Encoding_ENCODING_PROTOBUF, Data: data},
		As:     metadataForm(),
	})
	return apierr.FromGRPC(err)
}
