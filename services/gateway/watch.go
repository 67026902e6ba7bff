package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/fields"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/h2"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/gateway/media"
)

// leastWatch is how long a watch lasts at least when the client does not say; it is up to twice as long, so that
// clients which started together do not come back together.
const leastWatch = 30 * time.Minute

// watchTypes are the content types of watch streams.
var watchTypes = [...][]string{media.JSON: {media.ContentTypeJSON}, media.YAML: {media.ContentTypeJSON}, media.Protobuf: {media.ContentTypeProtobuf + ";stream=watch"}}

// watch is one running stream of events.
type watch struct {
	w    *response
	call *call
	// format is how events are written; headers are sent when it is settled.
	format media.Type
	// gone is set when the client takes no more.
	gone bool
}

// eventBuffers hold the frames of a batch while they are written: one write a batch makes the fewest HTTP/2 frames, and
// an idle watch holds no buffer.
var eventBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 16<<10)
	return &b
}}

// maxEvents is how much of a batch is written at once.
const maxEvents = 64 << 10

// headerEncoding is the header in which the API service may say that a kind has no protobuf form ("json").
const headerEncoding = "encoding"

// serveWatch streams events until the client, the API service, the time limit or the gateway's shutdown ends it.
func (g *Gateway) serveWatch(w *response, c *call) {
	req, timeout, err := watchRequest(c)
	if err != nil {
		g.fail(w, c.r, err)
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	undrain := context.AfterFunc(g.drained, cancel)
	end := func() { undrain(); cancel() }
	s := &watch{w: w, call: c, format: c.accepted.Type}
	direct, ok := g.cfg.API.(transport.Direct)
	if !ok {
		defer end()
		g.endWatch(ctx, s, s.follow(ctx, g.resources, req))
		return
	}
	var wake func()
	later, ok := w.ResponseWriter.(h2.Detacher)
	if ok {
		wake = later.Wake
	}
	source, err := direct.Run(ctx, apiv1.ResourceService_Watch_FullMethodName, req, s.accept, s.receive, wake)
	if source != nil && err == nil {
		later.Detach(&pulled{ctx: ctx, source: source, format: s.format, end: end})
		return
	}
	defer end()
	g.endWatch(ctx, s, err)
}

// follow receives from an API service in another process.
func (s *watch) follow(ctx context.Context, api apiv1.ResourceServiceClient, req *apiv1.WatchRequest) error {
	stream, err := api.Watch(ctx, req)
	if err != nil {
		return err
	}
	md, err := stream.Header()
	if err != nil {
		return err
	}
	s.accept(md)
	for {
		res, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := s.receive(res); err != nil {
			return err
		}
	}
}

// accept sends the HTTP headers. The API service sends its own as soon as it accepts a watch; a stream that ends without
// any (nil) was refused, and its error is still in time to become the HTTP status.
func (s *watch) accept(md metadata.MD) {
	if md == nil {
		return
	}
	if s.call.accepted.JSONToo && slices.Contains(md[headerEncoding], "json") {
		s.format = media.JSON
	}
	s.start()
}

// receive sends one message of the API service.
func (s *watch) receive(m any) error {
	s.start()
	if err := s.write(m.(*apiv1.WatchResponse).GetEvents()); err != nil {
		s.gone = true
		return err
	}
	s.w.Flush()
	return nil
}

func watchRequest(c *call) (*apiv1.WatchRequest, time.Duration, error) {
	q := c.query
	req := &apiv1.WatchRequest{
		Ref: c.ref(), LabelSelector: q.Get("labelSelector"), FieldSelector: q.Get("fieldSelector"), ResourceVersion: q.Get("resourceVersion"),
		ResourceVersionMatch: q.Get("resourceVersionMatch"), AllowBookmarks: isTrue(q, "allowWatchBookmarks"), As: c.as,
	}
	if name := c.target.Name; name != "" {
		req.Ref.Name, req.FieldSelector = "", fields.OneTermEqualSelector("metadata.name", name).String()
	}
	if q.Has("sendInitialEvents") {
		initial := isTrue(q, "sendInitialEvents")
		req.SendInitialEvents = &initial
	}
	seconds, err := integer(q, "timeoutSeconds")
	if err != nil {
		return nil, 0, err
	}
	if seconds > 0 && seconds < int64((1000*time.Hour).Seconds()) {
		return req, time.Duration(seconds) * time.Second, nil
	}
	return req, leastWatch + rand.N(leastWatch), nil
}

// start sends the headers, once.
func (s *watch) start() {
	if s.w.code != 0 {
		return
	}
	s.w.Header()["Content-Type"] = watchTypes[s.format]
	s.w.WriteHeader(http.StatusOK)
	s.w.Flush()
}

// write sends a batch of events.
func (s *watch) write(events []*apiv1.WatchEvent) error {
	buf := eventBuffers.Get().(*[]byte)
	defer eventBuffers.Put(buf)
	out := (*buf)[:0]
	for _, ev := range events {
		var err error
		if out, err = appendEvent(out, s.format, ev); err != nil {
			return err
		}
		if len(out) >= maxEvents {
			if _, err := s.w.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
	if cap(out) <= 2*maxEvents {
		*buf = out
	}
	if len(out) == 0 {
		return nil
	}
	_, err := s.w.Write(out)
	return err
}

// appendEvent frames one event around the object's bytes as the API service encoded them.
func appendEvent(out []byte, format media.Type, ev *apiv1.WatchEvent) ([]byte, error) {
	obj := ev.GetObject()
	data := obj.GetData()
	protobuf := obj.GetEncoding() == apiv1.Encoding_ENCODING_PROTOBUF
	if protobuf != (format == media.Protobuf) {
		return nil, fmt.Errorf("event of %s in encoding %s on a watch of %s", obj.GetKind(), obj.GetEncoding(), format)
	}
	if n := len(data); !protobuf && n > 0 && data[n-1] == '\n' {
		data = data[:n-1]
	}
	return media.AppendEvent(out, format, ev.GetType(), obj, data), nil
}

// endWatch ends a watch. A refusal that comes before anything was sent becomes the HTTP status. Later a Status of the
// API service becomes the last event; whatever else happened, the stream just ends and the client watches again.
func (g *Gateway) endWatch(ctx context.Context, s *watch, err error) {
	if s.gone {
		return
	}
	over := err == nil || ctx.Err() != nil || errors.Is(err, io.EOF)
	if s.w.code == 0 && !over {
		g.fail(s.w, s.call.r, err)
		return
	}
	s.start()
	if over {
		return
	}
	if last := lastEvent(s.format, err); last != nil {
		_ = s.write([]*apiv1.WatchEvent{last})
	}
}

// lastEvent is the event that tells a client why its watch ends; nil when that is nothing to tell.
func lastEvent(format media.Type, err error) *apiv1.WatchEvent {
	if code := status.Code(err); err == nil || errors.Is(err, io.EOF) || code == codes.Unavailable || code == codes.Canceled {
		return nil
	}
	st := statusOf(err)
	ev := &apiv1.WatchEvent{Type: apiv1.WatchEvent_TYPE_ERROR, Object: &apiv1.Object{ApiVersion: "v1", Kind: "Status", Encoding: apiv1.Encoding_ENCODING_JSON}}
	if format == media.Protobuf {
		ev.Object.Encoding = apiv1.Encoding_ENCODING_PROTOBUF
		ev.Object.Data, err = st.Marshal()
	} else {
		ev.Object.Data, err = json.Marshal(&st)
	}
	if err != nil {
		return nil
	}
	return ev
}
