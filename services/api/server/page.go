package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/watch"
)

// page reads what a list asks for, at the revision that it asks for.
func (s *Server) page(ctx context.Context, r *request, req *apiv1.ListRequest, predicate watch.Predicate) (watch.Page, error) {
	if req.GetLimit() < 0 {
		return watch.Page{}, apierrors.NewBadRequest("limit must not be negative")
	}
	q := watch.Query{Namespace: r.namespace, Predicate: predicate, Limit: int(min(req.GetLimit(), 1<<30))}
	if req.GetContinue() != "" {
		return s.nextPage(ctx, r, req, q)
	}
	exact, err := exactRevision(req)
	if err != nil {
		return watch.Page{}, err
	}
	if exact > 0 {
		page, err := r.collection.ListAt(ctx, exact, q)
		if err != nil {
			return watch.Page{}, s.cacheErrorAt(err, exact)
		}
		return page, nil
	}
	if err := s.freshen(ctx, req.GetResourceVersion()); err != nil {
		return watch.Page{}, err
	}
	return r.collection.List(q), nil
}

// exactRevision returns the revision that a list must be as of; 0 when it may be newer.
func exactRevision(req *apiv1.ListRequest) (int64, error) {
	version, match := req.GetResourceVersion(), metav1.ResourceVersionMatch(req.GetResourceVersionMatch())
	revision, err := parseRevision(version)
	if err != nil {
		return 0, err
	}
	path := field.NewPath("resourceVersionMatch")
	var bad *field.Error
	switch {
	case match == "" && req.GetLimit() > 0:
		return revision, nil
	case match == "" || match == metav1.ResourceVersionMatchNotOlderThan && version != "":
		return 0, nil
	case version == "":
		bad = field.Forbidden(path, "resourceVersionMatch is forbidden unless resourceVersion is provided")
	case match != metav1.ResourceVersionMatchExact:
		bad = field.NotSupported(path, match, []string{string(metav1.ResourceVersionMatchExact), string(metav1.ResourceVersionMatchNotOlderThan), ""})
	case revision == 0:
		bad = field.Forbidden(path, `resourceVersionMatch "exact" is forbidden for resourceVersion "0"`)
	default:
		return revision, nil
	}
	return 0, invalidListOptions(bad)
}

func invalidListOptions(errs ...*field.Error) error {
	return apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("ListOptions").GroupKind(), "", errs)
}

// continued is what a continue token says: where the page before ended, in the state at which revision.
type continued struct {
	Version  string `json:"v"`
	Revision int64  `json:"rv"`
	Start    string `json:"start"`
}

const continueVersion = "meta.k8s.io/v1"

func continueToken(revision int64, after string) string {
	data, _ := json.Marshal(continued{Version: continueVersion, Revision: revision, Start: after})
	return base64.RawURLEncoding.EncodeToString(data)
}

func parseContinue(token string) (continued, error) {
	var c continued
	data, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return c, apierrors.NewBadRequest(fmt.Sprintf("invalid continue token: continue key is not valid: %v", err))
	}
	if c.Version != continueVersion || c.Start == "" {
		return c, apierrors.NewBadRequest("invalid continue token: continue key is not valid")
	}
	return c, nil
}

// inconsistent is the revision in a token with which a client goes on after its first token has expired.
const inconsistent = -1

func (s *Server) nextPage(ctx context.Context, r *request, req *apiv1.ListRequest, q watch.Query) (watch.Page, error) {
	if v := req.GetResourceVersion(); v != "" && v != "0" {
		return watch.Page{}, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	c, err := parseContinue(req.GetContinue())
	if err != nil {
		return watch.Page{}, err
	}
	q.After = c.Start
	if c.Revision == inconsistent {
		if err := s.freshen(ctx, ""); err != nil {
			return watch.Page{}, err
		}
		return r.collection.List(q), nil
	}
	page, err := r.collection.ListAt(ctx, c.Revision, q)
	if errors.Is(err, watch.ErrExpired) {
		expired := apierrors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result. " +
			"You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. " +
			"Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.")
		expired.ErrStatus.ListMeta.Continue = continueToken(inconsistent, c.Start)
		return watch.Page{}, expired
	}
	if err != nil {
		return watch.Page{}, s.cacheErrorAt(err, c.Revision)
	}
	return page, nil
}

// predicate parses selectors and refuses fields that the kind cannot be selected by. A name narrows to one object.
func (r *request) predicate(labelSelector, fieldSelector, name string) (watch.Predicate, error) {
	var p watch.Predicate
	if labelSelector != "" {
		sel, err := labels.Parse(labelSelector)
		if err != nil {
			return p, apierrors.NewBadRequest(err.Error())
		}
		p.Labels = sel
	}
	if fieldSelector != "" {
		sel, err := fields.ParseSelector(fieldSelector)
		if err != nil {
			return p, apierrors.NewBadRequest(err.Error())
		}
		if err := r.checkFields(sel); err != nil {
			return p, err
		}
		if p.Fields, err = r.storedFields(sel); err != nil {
			return p, err
		}
	}
	if name != "" {
		only := fields.OneTermEqualSelector("metadata.name", name)
		if p.Fields != nil {
			only = fields.AndSelectors(p.Fields, only)
		}
		p.Fields = only
	}
	return p, nil
}

// storedFields is a selector by the names that the stored objects' fields have.
func (r *request) storedFields(sel fields.Selector) (fields.Selector, error) {
	if r.Form == nil {
		return sel, nil
	}
	return sel.Transform(func(field, value string) (string, string, error) {
		if theirs, ok := r.Form.Fields[field]; ok {
			field = theirs
		}
		return field, value, nil
	})
}

func (r *request) checkFields(sel fields.Selector) error {
	known := fieldSet(r.Kind, r.New())
	for _, req := range sel.Requirements() {
		if req.Field == "metadata.name" || req.Field == "metadata.namespace" && r.Namespaced {
			continue
		}
		if known.Has(req.Field) {
			continue
		}
		if r.Fields != nil {
			return apierrors.NewBadRequest("field label not supported: " + req.Field)
		}
		return apierrors.NewBadRequest(fmt.Sprintf("%q is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", req.Field))
	}
	return nil
}
