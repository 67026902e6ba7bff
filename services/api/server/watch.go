package server

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/watch"
)

// Watch implements ResourceService. A revision that has expired is told in the stream, as an ERROR event.
func (s *Server) Watch(req *apiv1.WatchRequest, stream grpc.ServerStreamingServer[apiv1.WatchResponse]) error {
	ctx := stream.Context()
	r, err := s.begin(ctx, req.GetRef(), "watch", req.GetFieldSelector())
	if err != nil {
		return err
	}
	predicate, err := r.predicate(req.GetLabelSelector(), req.GetFieldSelector(), r.name)
	if err != nil {
		return err
	}
	opts, err := s.watchOptions(ctx, req)
	if err != nil {
		return err
	}
	opts.Namespace, opts.Predicate = r.namespace, predicate
	call := transport.PulledCall(ctx)
	if call != nil {
		opts.Notify = call.Wake
	}
	leave, err := s.watches.enter(r.user)
	if err != nil {
		return err
	}
	ctx, end := r.untilReplaced(ctx)
	cancel := func() { end(); leave() }
	e := &eventEncoder{served: r.served, as: req.GetAs()}
	w, err := r.collection.Watch(ctx, opts)
	if err != nil {
		cancel()
		return e.fail(stream, s.cacheErrorAt(err, opts.Since))
	}
	told := &telling{s: s, ctx: ctx, cancel: cancel, w: w, e: e}
	if err := stream.SendHeader(e.header()); err != nil {
		told.Close()
		return err
	}
	if call != nil {
		unhook := context.AfterFunc(ctx, func() {
			told.ended.Store(true)
			call.Wake()
		})
		told.cancel = func() { unhook(); cancel() }
		call.Leave(told)
		return nil
	}
	defer told.Close()
	return told.pump(stream)
}

// header tells the client that its watch is accepted and how its events are encoded.
func (e *eventEncoder) header() metadata.MD {
	if e.encoding(e.as) == json_ {
		return metadata.MD{"encoding": {"json"}}
	}
	return metadata.MD{"encoding": {"protobuf"}}
}

// watchOptions works out where a watch begins, from its resourceVersion and sendInitialEvents.
func (s *Server) watchOptions(ctx context.Context, req *apiv1.WatchRequest) (watch.WatchOptions, error) {
	opts := watch.WatchOptions{Bookmarks: req.GetAllowBookmarks()}
	if err := checkWatch(req); err != nil {
		return opts, err
	}
	revision, err := parseRevision(req.GetResourceVersion())
	if err != nil {
		return opts, err
	}
	opts.Since = revision
	wanted := req.SendInitialEvents
	opts.SendInitial = wanted == nil && revision == 0 || wanted != nil && *wanted
	opts.InitialEnd = wanted != nil && *wanted && req.GetAllowBookmarks()
	if req.GetResourceVersion() == "" {
		// The newest state: what a write before this call did is part of it.
		if opts.Since, err = s.cache.Sync(ctx); err != nil {
			return opts, s.cacheError(err)
		}
	} else if revision == 0 && !opts.SendInitial {
		opts.Since = s.cache.Revision()
	}
	return opts, nil
}

func checkWatch(req *apiv1.WatchRequest) error {
	path := field.NewPath("resourceVersionMatch")
	match := req.GetResourceVersionMatch()
	switch {
	case req.SendInitialEvents == nil && match != "":
		return invalidListOptions(field.Forbidden(path, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"))
	case req.SendInitialEvents != nil && match != string(metav1.ResourceVersionMatchNotOlderThan):
		if match == "" {
			return invalidListOptions(field.Forbidden(path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
		}
		return invalidListOptions(field.NotSupported(path, match, []string{string(metav1.ResourceVersionMatchNotOlderThan)}))
	}
	return nil
}

// eventEncoder writes the events of one watch.
type eventEncoder struct {
	*served
	as *apiv1.Representation
	// tabled is set once a table with columns was sent.
	tabled bool
}

var eventTypes = [...]apiv1.WatchEvent_Type{
	watch.Added: apiv1.WatchEvent_TYPE_ADDED, watch.Modified: apiv1.WatchEvent_TYPE_MODIFIED,
	watch.Deleted: apiv1.WatchEvent_TYPE_DELETED, watch.Bookmark: apiv1.WatchEvent_TYPE_BOOKMARK,
}

func (e *eventEncoder) encode(ev *watch.Event) (*sharedEvent, error) {
	kind, encoding := eventTypes[ev.Type], e.encoding(e.as)
	shareable := ev.Type != watch.Bookmark && e.as.GetForm() <= apiv1.Form_FORM_OBJECT
	if shareable {
		if there := e.shared.find(ev.Entry, encoding, kind); there != nil {
			return there, nil
		}
	}
	out := &sharedEvent{entry: ev.Entry, encoding: encoding, event: &apiv1.WatchEvent{Type: kind, Revision: ev.Revision}}
	var err error
	if ev.Type == watch.Bookmark {
		out.event.Object, err = e.bookmark(ev)
	} else {
		out.event.Object, err = e.object(ev.Entry)
	}
	if err == nil && shareable {
		e.shared.keep(out)
	}
	return out, err
}

// object encodes an entry into bytes that all watchers of the same form share.
func (e *eventEncoder) object(entry *watch.Entry) (*apiv1.Object, error) {
	encoding, form := e.encoding(e.as), e.as.GetForm()
	it := entryItem(entry)
	switch {
	case form == apiv1.Form_FORM_TABLE:
		row, err := e.row(&it, e.as, time.Now())
		if err != nil {
			return nil, err
		}
		first := !e.tabled
		e.tabled = true
		return e.encodeTable(metav1.ListMeta{ResourceVersion: codec.FormatRevision(entry.Revision)}, []metav1.TableRow{row}, first)
	case form == apiv1.Form_FORM_METADATA && encoding == protobuf:
		data, err := entry.Encoded(formWireMeta, func(*watch.Entry) ([]byte, error) { return e.metadata(&it, protobuf) })
		return envelope(gvkPartial, encoding, data), err
	case form == apiv1.Form_FORM_METADATA:
		data, err := e.metadata(&it, encoding)
		return envelope(gvkPartial, encoding, data), err
	}
	data, err := e.alone(entry, encoding)
	return envelope(e.GroupVersionKind, encoding, data), err
}

// bookmark is an empty object with a resourceVersion.
func (e *eventEncoder) bookmark(ev *watch.Event) (*apiv1.Object, error) {
	version := codec.FormatRevision(ev.Revision)
	if e.as.GetForm() == apiv1.Form_FORM_TABLE {
		first := !e.tabled
		e.tabled = true
		return e.encodeTable(metav1.ListMeta{ResourceVersion: version}, []metav1.TableRow{}, first)
	}
	meta := metav1.ObjectMeta{ResourceVersion: version}
	if ev.InitialEnd {
		meta.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	}
	if e.as.GetForm() == apiv1.Form_FORM_METADATA {
		return encodeObject(gvkPartial, &metav1.PartialObjectMetadata{ObjectMeta: meta}, &apiv1.Representation{Encoding: e.encoding(e.as)})
	}
	obj := e.New()
	obj.SetResourceVersion(version)
	obj.SetAnnotations(meta.Annotations)
	return encodeObject(e.GroupVersionKind, obj, &apiv1.Representation{Encoding: e.encoding(e.as)})
}

// fail ends a stream with an ERROR event.
func (e *eventEncoder) fail(stream grpc.ServerStreamingServer[apiv1.WatchResponse], err error) error {
	last, err := e.failure(err)
	if err != nil {
		return err
	}
	return stream.Send(&apiv1.WatchResponse{Events: []*apiv1.WatchEvent{last}})
}

// failure is the ERROR event of an error that has a Status; others are returned.
func (e *eventEncoder) failure(err error) (*apiv1.WatchEvent, error) {
	var refusal apierrors.APIStatus
	if !errors.As(err, &refusal) {
		return nil, err
	}
	status := refusal.Status()
	env, err := encodeObject(gvkStatus, &status, &apiv1.Representation{Encoding: e.encoding(e.as)})
	if err != nil {
		return nil, err
	}
	return &apiv1.WatchEvent{Type: apiv1.WatchEvent_TYPE_ERROR, Object: env}, nil
}
