package node

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/volume"
	"karve.dev/karve/services/api/watch"
)

// messageChanges bounds the changes of one message.
const messageChanges = 500

// Stream implements AssignmentService.
func (s *Service) Stream(stream grpc.BidiStreamingServer[nodev1.StreamRequest, nodev1.StreamResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if hello == nil || hello.GetScope() == nodev1.Scope_SCOPE_UNSPECIFIED {
		return apierrors.NewBadRequest("the first message of a stream must be a hello with a scope")
	}
	if err := checkCaller(stream.Context(), hello.GetNode()); err != nil {
		return err
	}
	o := &outlet{service: s, feed: newFeed(hello.GetNode(), hello.GetScope()), stream: stream, sent: map[ref]int64{}, users: map[ref][]ref{}, draining: map[ref]*drain{}}
	if !s.hub.add(o.feed) {
		return apierrors.NewServiceUnavailable("the API service is stopping")
	}
	defer s.hub.remove(o.feed)
	defer s.hub.drains.remove(o.feed)
	session := s.acks.open(hello.GetNode(), hello.GetScope())
	defer session.close()
	received := make(chan error, 1)
	// The reader ends with the stream, which ends when this method returns.
	go func() { received <- receive(stream, session) }()
	return o.run(stream.Context(), received)
}

func receive(stream grpc.BidiStreamingServer[nodev1.StreamRequest, nodev1.StreamResponse], session *session) error {
	for {
		msg, err := stream.Recv()
		if err != nil {
			return err
		}
		if ack := msg.GetAck(); ack != nil {
			session.record(ack)
		}
	}
}

func (o *outlet) run(ctx context.Context, received <-chan error) error {
	if err := o.snapshot(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-o.feed.wake:
		case err := <-received:
			if errors.Is(err, io.EOF) || ctx.Err() != nil {
				return nil
			}
			return err
		case <-ctx.Done():
			return nil
		}
		// The position is read first: what is marked after it may come on top.
		revision := o.position()
		dirty, resync, ended := o.feed.take()
		if ended {
			return nil
		}
		o.expand(dirty, resync)
		if err := o.look(dirty); err != nil {
			return err
		}
		if err := o.flush(revision, false); err != nil {
			return err
		}
	}
}

// primary are the kinds that a scope's revision is about.
var primary = map[nodev1.Scope][]schema.GroupVersionKind{
	nodev1.Scope_SCOPE_PODS:     {kindPod},
	nodev1.Scope_SCOPE_SERVICES: {kindService, kindSlice},
}

// position is the revision up to which everything of the scope has been marked.
func (o *outlet) position() int64 {
	position := int64(-1)
	for _, gvk := range primary[o.feed.scope] {
		if k := o.service.hub.kinds[gvk]; k != nil {
			if r := k.reached(); position < 0 || r < position {
				position = r
			}
		}
	}
	return max(position, o.revision)
}

// snapshot sends everything that the node should know. It is never older than what any API replica has told the node
// before: a pod that seems to be missing would be killed.
func (o *outlet) snapshot(ctx context.Context) error {
	if err := o.service.objects.Sync(ctx); err != nil {
		return err
	}
	revision := int64(0)
	dirty := map[ref]struct{}{}
	for _, gvk := range o.kinds() {
		page := o.list(gvk)
		if revision == 0 || page.Revision < revision {
			revision = page.Revision
		}
		for _, e := range page.Entries {
			dirty[ref{gvk, e.Namespace, e.Name}] = struct{}{}
		}
	}
	if err := o.look(dirty); err != nil {
		return err
	}
	return o.flush(revision, true)
}

// kinds are what the scope lists by itself; what pods use follows from the pods.
func (o *outlet) kinds() []schema.GroupVersionKind {
	if o.feed.scope == nodev1.Scope_SCOPE_SERVICES {
		return []schema.GroupVersionKind{kindNode, kindService, kindSlice}
	}
	return []schema.GroupVersionKind{kindNode, kindVolume, kindPod}
}

func (o *outlet) list(gvk schema.GroupVersionKind) watch.Page {
	k := o.service.hub.kinds[gvk]
	if k == nil {
		return watch.Page{}
	}
	q := watch.Query{}
	if o.feed.scope == nodev1.Scope_SCOPE_PODS {
		switch gvk {
		case kindPod:
			q.Predicate.Fields = fields.OneTermEqualSelector(fieldNodeName, o.feed.node)
		case kindVolume:
			q.Predicate.Labels = labels.SelectorFromSet(labels.Set{volume.NodeLabel: o.feed.node})
		case kindNode:
			q.Predicate.Fields = fields.OneTermEqualSelector("metadata.name", o.feed.node)
		}
	}
	return k.collection.List(q)
}
