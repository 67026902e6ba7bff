package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/gateway/media"
	"karve.dev/karve/services/gateway/route"
)

// maxBody is how large a request's body may be, as in Kubernetes.
const maxBody = 3 << 20

// call is one request for a resource on its way to the API service.
type call struct {
	ctx      context.Context
	r        *http.Request
	target   *route.Target
	query    url.Values
	accepted media.Accepted
	as       *apiv1.Representation
	// body is empty for verbs that have none.
	body []byte
}

func (c *call) ref() *apiv1.ObjectRef {
	t := c.target
	return &apiv1.ObjectRef{ApiVersion: t.Resource.APIVersion, Kind: t.Resource.Kind, Namespace: t.Namespace, Name: t.Name, Subresource: t.Subresource()}
}

// serveResource carries out a request whose target is known.
func (g *Gateway) serveResource(w *response, r *http.Request, t *route.Target) {
	if t.Sub != nil && t.Resource.Group == "" && t.Resource.Name == "pods" {
		if serve := podStreams[t.Sub.Name]; serve != nil {
			g.serveStream(w, r, t, serve)
			return
		}
	}
	c := &call{r: r, target: t}
	if err := g.prepare(c, w); err != nil {
		g.fail(w, r, err)
		return
	}
	if t.Verb == route.Watch {
		g.serveWatch(w, c)
		return
	}
	if err := g.readBody(c, w); err != nil {
		g.fail(w, r, err)
		return
	}
	limit := g.reads
	if r.Method != http.MethodGet {
		limit = g.writes
	}
	leave, err := limit.Enter(r.Context(), clientOf(c.ctx, r))
	if err != nil {
		g.tooMany(w, r)
		return
	}
	result, err := g.act(c, leave)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	bearingOf(r).taken()
	g.respond(w, c, result)
}

// act calls the API service. The slot is given back before the answer is written: a client that reads slowly holds none.
func (g *Gateway) act(c *call, leave func()) (*apiv1.Result, error) {
	defer leave()
	ctx, cancel := context.WithTimeout(c.ctx, c.timeout(g.cfg.RequestTimeout))
	defer cancel()
	c.ctx = ctx
	return actions[c.target.Verb](g, c)
}

// prepare reads what the headers and the query say.
func (g *Gateway) prepare(c *call, w *response) error {
	var ok bool
	if c.accepted, ok = media.Negotiate(c.r.Header.Get("Accept")); !ok {
		return errNotAcceptable
	}
	if c.accepted.Form != apiv1.Form_FORM_OBJECT || c.accepted.Type != media.JSON {
		w.Header()["Vary"] = varyAccept
	}
	var err error
	if c.query, err = query(c.r); err != nil {
		return err
	}
	c.as = &apiv1.Representation{Encoding: encodingOf(c.accepted), Form: c.accepted.Form}
	if c.as.Form == apiv1.Form_FORM_TABLE {
		if c.as.IncludeObject, err = includeObject(c.query); err != nil {
			return err
		}
	}
	c.ctx, err = g.forward(c.r.Context(), w, c.r)
	return err
}

var varyAccept = []string{"Accept"}

func encodingOf(a media.Accepted) apiv1.Encoding {
	switch {
	case a.Type != media.Protobuf:
		return apiv1.Encoding_ENCODING_JSON
	case a.JSONToo:
		return apiv1.Encoding_ENCODING_UNSPECIFIED
	default:
		return apiv1.Encoding_ENCODING_PROTOBUF
	}
}

// timeout is how long the call may take: what the client asks for, but not longer than the server allows.
func (c *call) timeout(most time.Duration) time.Duration {
	if value := c.query.Get("timeout"); value != "" {
		if d, err := time.ParseDuration(value); err == nil && d > 0 {
			return min(d, most)
		}
	}
	return most
}

// readBody reads the body of verbs that have one. It comes before the request takes a slot, so that slow clients hold
// none.
func (g *Gateway) readBody(c *call, w *response) error {
	if c.r.Method == http.MethodGet || c.r.Body == nil || c.r.Body == http.NoBody {
		return nil
	}
	if c.r.ContentLength > maxBody {
		return errTooLarge
	}
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(g.cfg.RequestTimeout))
	defer func() { _ = deadline.SetReadDeadline(time.Time{}) }()
	var err error
	if n := c.r.ContentLength; n >= 0 {
		c.body = make([]byte, n)
		_, err = io.ReadFull(c.r.Body, c.body)
	} else {
		c.body, err = io.ReadAll(io.LimitReader(c.r.Body, maxBody+1))
	}
	if err != nil {
		return apierrors.NewBadRequest("reading the request's body: " + err.Error())
	}
	if len(c.body) > maxBody {
		return errTooLarge
	}
	return nil
}

// object wraps the body as what the target carries.
func (c *call) object(options *apiv1.WriteOptions) (*apiv1.Object, error) {
	t, ok := media.BodyType(c.r.Header.Get("Content-Type"))
	if !ok {
		return nil, unsupportedMediaType("the body of the request was in an unknown format - accepted media types include: " + media.SupportedContentTypes)
	}
	apiVersion, kind := c.target.BodyKind()
	obj, err := media.Object(t, c.body, apiVersion, kind, options.GetFieldValidation() == metav1.FieldValidationStrict)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return obj, nil
}

var (
	errTooLarge      = apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	errNotAcceptable = &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: "only the following media types are accepted: " + media.SupportedContentTypes,
	}}
)

func unsupportedMediaType(message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType, Message: message,
	}}
}
