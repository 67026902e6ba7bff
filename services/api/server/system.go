package server

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/authz"
)

// Check is one thing that must be so for the process to be alive or ready.
type Check struct {
	Name string
	// Ready: asked for readyz only; a process that is alive may fail it.
	Ready bool
	Run   func(ctx context.Context) error
}

// System implements SystemService.
type System struct {
	systemv1.UnimplementedSystemServiceServer
	// Server authorizes.
	Server *Server
	// Checks are run in order.
	Checks []Check
	// Metrics is nil when the process gathers none.
	Metrics prometheus.Gatherer
}

// checkTimeout bounds each check.
const checkTimeout = 2 * time.Second

// Check implements SystemService. Everybody may ask.
func (s *System) Check(ctx context.Context, req *systemv1.CheckRequest) (*systemv1.CheckResponse, error) {
	res := &systemv1.CheckResponse{Checks: []*systemv1.CheckResponse_Check{{Name: "ping"}}}
	for _, c := range s.Checks {
		if c.Ready && req.GetProbe() == "livez" {
			continue
		}
		out := &systemv1.CheckResponse_Check{Name: c.Name}
		bounded, cancel := context.WithTimeout(ctx, checkTimeout)
		if err := c.Run(bounded); err != nil {
			out.Error = err.Error()
		}
		cancel()
		res.Checks = append(res.Checks, out)
	}
	return res, nil
}

// GetMetrics implements SystemService for those who may get /metrics.
func (s *System) GetMetrics(ctx context.Context, _ *systemv1.GetMetricsRequest) (*systemv1.GetMetricsResponse, error) {
	if err := s.Server.AuthorizePath(ctx, "/metrics", "get"); err != nil {
		return nil, err
	}
	if s.Metrics == nil {
		return &systemv1.GetMetricsResponse{}, nil
	}
	families, err := s.Metrics.Gather()
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("gather metrics: %w", err))
	}
	var text bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			return nil, apierrors.NewInternalError(fmt.Errorf("write metrics: %w", err))
		}
	}
	return &systemv1.GetMetricsResponse{Text: text.Bytes()}, nil
}

// Authorize implements SystemService.
func (s *System) Authorize(ctx context.Context, req *systemv1.AuthorizeRequest) (*systemv1.AuthorizeResponse, error) {
	if err := s.Server.AuthorizePath(ctx, req.GetPath(), req.GetVerb()); err != nil {
		return nil, err
	}
	return &systemv1.AuthorizeResponse{}, nil
}

// AuthorizePath says whether the caller may use a verb on a URL path that names no resource.
func (s *Server) AuthorizePath(ctx context.Context, path, verb string) error {
	user, _ := identity.UserFrom(ctx)
	return s.authorize(ctx, authz.Attributes{User: user, Verb: verb, Path: path})
}
