package server

import (
	"context"
	"encoding/json"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/watch"
)

// List implements ResourceService.
func (s *Server) List(ctx context.Context, req *apiv1.ListRequest) (*apiv1.Result, error) {
	r, err := s.begin(ctx, req.GetRef(), "list", req.GetFieldSelector())
	if err != nil {
		return nil, err
	}
	predicate, err := r.predicate(req.GetLabelSelector(), req.GetFieldSelector(), r.name)
	if err != nil {
		return nil, err
	}
	if r.Computed {
		return s.listComputed(ctx, r, predicate, req.GetAs())
	}
	page, err := s.page(ctx, r, req, predicate)
	if err != nil {
		return nil, err
	}
	meta := metav1.ListMeta{ResourceVersion: codec.FormatRevision(page.Revision)}
	if page.Next != "" {
		meta.Continue = continueToken(page.Revision, page.Next)
		if page.Remaining >= 0 {
			meta.RemainingItemCount = &page.Remaining
		}
	}
	if err := r.prepare(ctx, page.Entries, req.GetAs()); err != nil {
		return nil, err
	}
	env, err := r.encodeList(meta, page.Entries, req.GetAs())
	if err != nil {
		return nil, err
	}
	return &apiv1.Result{Object: env, Warnings: r.allWarnings()}, nil
}

func (r *request) encodeList(meta metav1.ListMeta, entries []*watch.Entry, as *apiv1.Representation) (*apiv1.Object, error) {
	encoding, pieces := r.encoding(as), as.GetInPieces() || r.onWire
	listKind := r.GroupVersion().WithKind(r.ListKindName())
	switch as.GetForm() {
	case apiv1.Form_FORM_TABLE:
		return r.table(meta, entries, as, r.now, true)
	case apiv1.Form_FORM_METADATA:
		listKind = gvkPartialList
		if encoding == protobuf {
			return r.metadataList(meta, entries)
		}
		return jsonList(listKind, meta, entries, pieces, func(it *item) ([]byte, error) { return r.metadata(it, json_) })
	}
	if encoding == json_ {
		return jsonList(listKind, meta, entries, pieces, r.body)
	}
	return protobufList(r.served, listKind, meta, entries)
}

func protobufList(sv *served, gvk schema.GroupVersionKind, meta metav1.ListMeta, entries []*watch.Entry) (*apiv1.Object, error) {
	size := 0
	for _, e := range entries {
		size += len(e.Value) + codec.ItemOverhead
	}
	list, err := codec.NewList(meta, size)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	for _, e := range entries {
		it := entryItem(e)
		raw, err := sv.raw(&it)
		if err != nil {
			return nil, err
		}
		list.Add(raw, e.Revision)
	}
	return envelope(gvk, protobuf, list.Bytes()), nil
}

func (sv *served) metadataList(meta metav1.ListMeta, entries []*watch.Entry) (*apiv1.Object, error) {
	list, err := codec.NewList(meta, 512*len(entries))
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	for _, e := range entries {
		it := entryItem(e)
		raw, err := sv.rawMetadata(&it)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		list.Add(raw, e.Revision)
	}
	return envelope(gvkPartialList, protobuf, list.Bytes()), nil
}

// jsonList lines up the JSON of the items: each is encoded once and shared while the cache keeps it. They are joined only
// for callers that do not take them one by one.
func jsonList(gvk schema.GroupVersionKind, meta metav1.ListMeta, entries []*watch.Entry, apart bool, encode func(*item) ([]byte, error)) (*apiv1.Object, error) {
	head, err := json.Marshal(&meta)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	pieces := make([][]byte, 0, 2*len(entries)+1)
	for i, e := range entries {
		it := entryItem(e)
		body, err := encode(&it)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			pieces = append(pieces, comma)
		}
		pieces = append(pieces, body)
	}
	list := envelope(gvk, json_, []byte(codec.ListHead(gvk, head)))
	list.Pieces = append(pieces, listEnd)
	if !apart {
		list.Data, list.Pieces = join(list.Data, list.Pieces), nil
	}
	return list, nil
}

var comma, listEnd = []byte(","), []byte("]}")

func join(first []byte, rest [][]byte) []byte {
	size := len(first)
	for _, p := range rest {
		size += len(p)
	}
	out := append(make([]byte, 0, size), first...)
	for _, p := range rest {
		out = append(out, p...)
	}
	return out
}
