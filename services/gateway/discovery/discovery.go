// Package discovery writes the documents by which clients find out what the API serves: the legacy lists of groups,
// versions and resources, and the aggregated list. They are made once whenever the set of kinds changes.
package discovery

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/gateway/media"
)

// Document is one answer.
type Document struct {
	ContentType string
	Body        []byte
	// ETag is empty for documents that clients do not cache by it.
	ETag string
}

// Documents are all answers for one set of kinds. They are immutable.
type Documents struct {
	// legacy by path: "/api", "/apis", "/apis/apps", "/apis/apps/v1".
	legacy map[string]*Document
	// aggregated by path ("/api" and "/apis") and version of apidiscovery.k8s.io.
	aggregated map[string]map[string]*Document
}

// New returns the documents for what the API service serves and for what other servers do.
func New(served *apiv1.WatchKindsResponse) (*Documents, error) {
	groups := groupKinds(served.GetKinds())
	for _, v := range served.GetAggregated() {
		groups = addServer(groups, v)
	}
	arrange(groups, served.GetOrder())
	d := &Documents{legacy: map[string]*Document{}, aggregated: map[string]map[string]*Document{}}
	if err := d.addLegacy(groups); err != nil {
		return nil, err
	}
	if err := d.addAggregated(groups); err != nil {
		return nil, err
	}
	return d, nil
}

// Find returns the document at a path in the best form that the Accept header allows. Acceptable is false when there is
// one, but not in a form that the client takes.
func (d *Documents) Find(path, accept string) (doc *Document, acceptable bool) {
	path = strings.TrimSuffix(path, "/")
	legacy := d.legacy[path]
	if legacy == nil {
		return nil, true
	}
	if accept == "" {
		return legacy, true
	}
	var buf [8]media.Clause
	clauses := media.Clauses(accept, buf[:])
	for i := range clauses {
		c := &clauses[i]
		switch {
		case c.As == "" && (c.Type == media.ContentTypeJSON || strings.HasSuffix(c.Type, "/*")):
			return legacy, true
		case c.As == aggregatedKind && c.Group == aggregatedGroup && c.Type == media.ContentTypeJSON:
			if doc := d.aggregated[path][c.Version]; doc != nil {
				return doc, true
			}
		}
	}
	return legacy, false
}

// Paths returns the paths of all groups and versions, for the list at "/".
func (d *Documents) Paths() []string {
	paths := make([]string, 0, len(d.legacy))
	for p := range d.legacy {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

func newDocument(contentType string, v any) (*Document, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode discovery: %w", err)
	}
	return &Document{ContentType: contentType, Body: append(body, '\n')}, nil
}

func etag(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + strings.ToUpper(hex.EncodeToString(sum[:])) + `"`
}

// group is a group with its versions in order of preference.
type group struct {
	name     string
	versions []*version
}

type version struct {
	name  string
	kinds []*apiv1.KindInfo
	// stale tells that the server of the version does not answer.
	stale bool
}

func groupKinds(kinds []*apiv1.KindInfo) []*group {
	var groups []*group
	for _, k := range kinds {
		i := slices.IndexFunc(groups, func(g *group) bool { return g.name == k.GetGroup() })
		if i < 0 {
			i = len(groups)
			groups = append(groups, &group{name: k.GetGroup()})
		}
		groups[i].add(k)
	}
	return groups
}

func (g *group) add(k *apiv1.KindInfo) {
	i := slices.IndexFunc(g.versions, func(v *version) bool { return v.name == k.GetVersion() })
	if i < 0 {
		i = len(g.versions)
		g.versions = append(g.versions, &version{name: k.GetVersion()})
	}
	v := g.versions[i]
	v.kinds = append(v.kinds, k)
	if k.GetPreferred() && i > 0 {
		g.versions = slices.Insert(slices.Delete(g.versions, i, i+1), 0, v)
	}
}

func gvk(group, version, kind string) *metav1.GroupVersionKind {
	return &metav1.GroupVersionKind{Group: group, Version: version, Kind: kind}
}
