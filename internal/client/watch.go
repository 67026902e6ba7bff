package client

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
)

// Watcher receives the changes of one kind. Its owner calls Next until it fails; the context that it was made with
// ends it.
type Watcher struct {
	stream interface {
		Recv() (*apiv1.WatchResponse, error)
	}
	pending []*apiv1.WatchEvent
}

// Watch streams changes to obj's kind after resourceVersion. With an empty resourceVersion it begins with everything
// that exists as ADDED, then a BOOKMARK annotated metav1.InitialEventsAnnotationKey.
func (c *Client) Watch(ctx context.Context, obj runtime.Object, opts ListOptions, resourceVersion string) (*Watcher, error) {
	r, err := ref(obj, opts.Namespace, "", "")
	if err != nil {
		return nil, err
	}
	req := &apiv1.WatchRequest{Ref: r, LabelSelector: opts.LabelSelector, FieldSelector: opts.FieldSelector, ResourceVersion: resourceVersion, AllowBookmarks: true, As: asProtobuf()}
	if resourceVersion == "" {
		yes := true
		req.SendInitialEvents, req.ResourceVersionMatch = &yes, string(metav1.ResourceVersionMatchNotOlderThan)
	}
	stream, err := c.rpc.Watch(ctx, req)
	if err != nil {
		return nil, apierr.FromGRPC(err)
	}
	return &Watcher{stream: stream}, nil
}

// Next returns the next event. It fails with the server's Status when the watch was refused or its revision has
// expired (apierrors.IsResourceExpired), with io.EOF when the server ended it, or with what broke the stream.
func (w *Watcher) Next() (*apiv1.WatchEvent, error) {
	for len(w.pending) == 0 {
		res, err := w.stream.Recv()
		if err != nil {
			return nil, apierr.FromGRPC(err)
		}
		w.pending = res.GetEvents()
	}
	ev := w.pending[0]
	w.pending = w.pending[1:]
	if ev.GetType() == apiv1.WatchEvent_TYPE_ERROR {
		return nil, eventError(ev)
	}
	return ev, nil
}

func eventError(ev *apiv1.WatchEvent) error {
	st := metav1.Status{}
	var err error
	if ev.GetObject().GetEncoding() == apiv1.Encoding_ENCODING_JSON {
		err = json.Unmarshal(ev.GetObject().GetData(), &st)
	} else {
		err = st.Unmarshal(ev.GetObject().GetData())
	}
	if err != nil {
		return fmt.Errorf("decode the status that ended a watch: %w", err)
	}
	return &apierrors.StatusError{ErrStatus: st}
}
