package stream

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
)

// Logs streams a container's log as plain text; every piece is flushed as it comes. A refusal is returned as long as
// nothing was written.
func (s *Server) Logs(r *Request) error {
	req, err := r.logsRequest()
	if err != nil {
		return err
	}
	stream, err := s.api.Logs(r.Context, req)
	if err != nil {
		return err
	}
	md, err := stream.Header()
	if err != nil {
		return err
	}
	started := false
	start := func() {
		if !started {
			started = true
			r.Writer.Header().Set("Content-Type", "text/plain")
			r.Writer.WriteHeader(http.StatusOK)
		}
	}
	flush := http.NewResponseController(r.Writer)
	if md != nil {
		start()
		_ = flush.Flush()
	}
	for {
		res, err := stream.Recv()
		if err != nil {
			if !started && !errors.Is(err, io.EOF) {
				return err
			}
			if !started {
				r.Writer.WriteHeader(http.StatusNoContent) // the pod has no node yet
			}
			return nil
		}
		start()
		if _, err := r.Writer.Write(res.GetData()); err != nil {
			return nil //nolint:nilerr // the client is gone
		}
		_ = flush.Flush()
	}
}

func (r *Request) logsRequest() (*agentv1.LogsRequest, error) {
	req := &agentv1.LogsRequest{
		Pod: r.pod(), Follow: r.is("follow"), Previous: r.is("previous"), Timestamps: r.is("timestamps"),
		SinceTime: r.Query.Get("sinceTime"), Stream: r.Query.Get("stream"),
	}
	for name, into := range map[string]**int64{"tailLines": &req.TailLines, "limitBytes": &req.LimitBytes, "sinceSeconds": &req.SinceSeconds} {
		value := r.Query.Get(name)
		if value == "" {
			continue
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		*into = &n
	}
	if req.GetSinceTime() != "" {
		if _, err := time.Parse(time.RFC3339, req.GetSinceTime()); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	return req, nil
}
