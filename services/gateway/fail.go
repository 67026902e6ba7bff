package gateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/services/gateway/media"
)

// statusOf returns the Kubernetes Status of any error, complete with kind and code.
func statusOf(err error) metav1.Status {
	err = apierr.FromGRPC(err)
	var api apierrors.APIStatus
	if !errors.As(err, &api) {
		api = apierrors.NewInternalError(err)
	}
	st := api.Status()
	st.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	if st.Code == 0 {
		st.Code = http.StatusInternalServerError
	}
	return st
}

// fail answers with an error as a Status in a form that the client takes. It writes nothing to a client that is gone.
func (g *Gateway) fail(w *response, r *http.Request, err error) {
	if r.Context().Err() != nil {
		w.code = statusClientClosed
		return
	}
	st := statusOf(err)
	if st.Code >= http.StatusInternalServerError {
		g.log.Debug("a request failed", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Error(err))
	}
	accepted, ok := media.Negotiate(r.Header.Get("Accept"))
	if !ok {
		accepted = media.Default
	}
	b := body{contentType: contentTypeHeaders[accepted.Type], code: int(st.Code)}
	encodeStatus(&b, accepted.Type, &st, pretty(r))
	h := w.Header()
	addWarnings(h, apierr.Warnings(err))
	if st.Code == http.StatusUnauthorized && r.ProtoMajor == 2 {
		// Who has no valid credentials gets no connection to multiplex requests on.
		h["Connection"] = closing
	}
	if st.Details != nil && st.Details.RetryAfterSeconds > 0 {
		h["Retry-After"] = []string{strconv.Itoa(int(st.Details.RetryAfterSeconds))}
	}
	b.write(w, r)
}

// statusClientClosed stands in metrics for requests whose client went away.
const statusClientClosed = 499

func encodeStatus(b *body, t media.Type, st *metav1.Status, indent bool) {
	if t == media.Protobuf {
		if data, err := st.Marshal(); err == nil {
			b.head, b.tail = media.Envelope(nil, "v1", "Status", len(data))
			b.data = data
			return
		}
	}
	data, err := json.Marshal(st)
	if err != nil {
		b.data, b.contentType = []byte(st.Message), plainText
		return
	}
	if t == media.YAML {
		if data, err = yaml.JSONToYAML(data); err == nil {
			b.data = data
			return
		}
	}
	b.contentType = contentTypeHeaders[media.JSON]
	b.setJSON(data, indent)
}

// tooMany refuses a request because too many run already; clients retry.
func (g *Gateway) tooMany(w *response, r *http.Request) {
	g.fail(w, r, apierrors.NewTooManyRequests("too many requests, please try again later", 1))
}

// plain answers with a line of text.
func plain(w *response, code int, text string) {
	h := w.Header()
	h["Content-Type"], h["X-Content-Type-Options"] = plainText, nosniff
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text))
}
