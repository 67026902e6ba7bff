package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/watch"
)

// Get implements ResourceService.
func (s *Server) Get(ctx context.Context, req *apiv1.GetRequest) (*apiv1.Result, error) {
	r, err := s.begin(ctx, req.GetRef(), "get")
	if err != nil {
		return nil, err
	}
	if r.Computed {
		return s.getComputed(ctx, r, req.GetAs())
	}
	if err := s.freshen(ctx, req.GetResourceVersion()); err != nil {
		return nil, err
	}
	e, ok := r.collection.Get(r.namespace, r.name)
	if !ok {
		return nil, r.notFound()
	}
	it := entryItem(e)
	switch r.subresource {
	case "", "status":
		return r.answer(&it, req.GetAs())
	case "scale":
		return r.answerScale(&it, req.GetAs())
	}
	// A subresource that writes a part of the object is read as the object.
	if sub := r.declared(); sub != nil && sub.Prepare != nil && slices.Contains(sub.Verbs, "get") {
		return r.answer(&it, req.GetAs())
	}
	return nil, apierrors.NewMethodNotSupported(r.groupResource(), "get")
}

// freshen waits until the cache is as new as a reader's resourceVersion asks: empty for everything acknowledged
// before the call, "0" for anything.
func (s *Server) freshen(ctx context.Context, resourceVersion string) error {
	if resourceVersion == "" {
		if _, err := s.cache.Sync(ctx); err != nil {
			return s.cacheError(err)
		}
		return nil
	}
	revision, err := parseRevision(resourceVersion)
	if err != nil || revision == 0 {
		return err
	}
	if err := s.cache.WaitFor(ctx, revision); err != nil {
		return s.cacheErrorAt(err, revision)
	}
	return nil
}

func parseRevision(resourceVersion string) (int64, error) {
	if resourceVersion == "" {
		return 0, nil
	}
	revision, err := strconv.ParseInt(resourceVersion, 10, 64)
	if err != nil || revision < 0 {
		return 0, apierrors.NewBadRequest(fmt.Sprintf(
			"invalid resource version: resourceVersion: Invalid value: %q: strconv.ParseUint: parsing %q: invalid syntax", resourceVersion, resourceVersion))
	}
	return revision, nil
}

func (s *Server) cacheError(err error) error { return s.cacheErrorAt(err, 0) }

// cacheErrorAt puts the cache's errors in Kubernetes' words; revision is what was asked for.
func (s *Server) cacheErrorAt(err error, revision int64) error {
	switch {
	case errors.Is(err, watch.ErrExpired):
		return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", revision, s.cache.Revision()))
	case errors.Is(err, watch.ErrFuture):
		return tooLarge(revision, s.cache.Revision())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, watch.ErrClosed):
		return apierrors.NewServiceUnavailable("the API service is stopping")
	}
	return apierrors.NewInternalError(err)
}

func tooLarge(asked, current int64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", asked, current), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}
