// Package openapi writes the OpenAPI documents of the built-in kinds, out of their Go types: kubectl explain, kubectl's
// checks of fields and generators of clients read them. Documents are made when somebody asks, and kept compressed.
package openapi

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/internal/version"
	"karve.dev/karve/services/api/registry"
)

//go:generate sh -c "go run ./internal/markers > markers.txt"

// ErrUnknown says that there is no document for what was asked.
var ErrUnknown = errors.New("no such OpenAPI document")

// format is raised by hand when the documents change though neither kinds nor types do: clients keep a document for as
// long as its tag stays the same. A test reminds of it.
const format = 1

// object is a JSON object; encoding/json writes its keys in order, so that equal documents are equal bytes.
type object = map[string]any

// Document returns an OpenAPI document and a tag that changes when the document does. For major version 3 there is one
// a group version ("v1", "apps/v1"), and the index of them for "". For major version 2 there is one for everything,
// also named "". It is safe for concurrent use; callers own the bytes.
func Document(groupVersion string, major int) (document []byte, etag string, err error) {
	switch {
	case major == 3 && groupVersion == "":
		document, err = json.Marshal(index())
		return document, tag("index"), err
	case major == 3:
		return made.get(groupVersion, buildV3)
	case major == 2 && groupVersion == "":
		return made.get("", buildV2)
	}
	return nil, "", fmt.Errorf("version %d of %q: %w", major, groupVersion, ErrUnknown)
}

// index names the documents; kubectl takes a document that it has when the hash is still the same.
func index() object {
	paths := object{}
	for _, gv := range groupVersions() {
		path := root(gv)[1:]
		paths[path] = object{"serverRelativeURL": "/openapi/v3/" + path + "?hash=" + tag(gv.String())}
	}
	return object{"paths": paths}
}

// groupVersions are those of the registry, in its order.
func groupVersions() []schema.GroupVersion {
	var all []schema.GroupVersion
	seen := map[schema.GroupVersion]bool{}
	for _, k := range registry.All() {
		if gv := k.GroupVersion(); !seen[gv] {
			seen[gv] = true
			all = append(all, gv)
		}
	}
	return all
}

// tag is made of what goes into a document, so that the index can name all tags without making the documents.
func tag(groupVersion string) string {
	h := sha256.New()
	fmt.Fprintln(h, format, version.Kubernetes, groupVersion)
	io.WriteString(h, markerText)
	for _, k := range registry.All() {
		fmt.Fprintln(h, k.GroupVersionKind, k.Resource, k.Namespaced, k.Verbs, k.PrepareStatus != nil, k.Scale != nil)
		for _, s := range k.Subresources {
			fmt.Fprintln(h, s.Name, s.Kind, s.Verbs)
		}
	}
	return strings.ToUpper(hex.EncodeToString(h.Sum(nil)))
}

// cache keeps documents compressed: they are asked for seldom, and are large.
type cache struct {
	mu   sync.Mutex
	docs map[string][]byte
}

var made = cache{docs: map[string][]byte{}}

// get returns the document of a name, which build makes when it is not there yet.
func (c *cache) get(name string, build func(name string) (object, error)) ([]byte, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if packed, ok := c.docs[name]; ok {
		document, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
		return document, tag(name), err
	}
	doc, err := build(name)
	if err != nil {
		return nil, "", err
	}
	document, err := json.Marshal(doc)
	if err != nil {
		return nil, "", fmt.Errorf("encode OpenAPI document %q: %w", name, err)
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.DefaultCompression)
	if err != nil {
		return nil, "", err
	}
	if _, err := w.Write(document); err != nil {
		return nil, "", err
	}
	if err := w.Close(); err != nil {
		return nil, "", err
	}
	c.docs[name] = bytes.Clone(packed.Bytes())
	return document, tag(name), nil
}

// buildV3 makes the document of a group version.
func buildV3(groupVersion string) (object, error) {
	gv, err := schema.ParseGroupVersion(groupVersion)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", groupVersion, ErrUnknown)
	}
	s := newSchemas(3)
	paths := object{}
	for _, k := range registry.All() {
		if k.GroupVersion() == gv {
			addPaths(paths, s, k)
		}
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%q: %w", groupVersion, ErrUnknown)
	}
	return object{
		"openapi": "3.0.0", "info": info(), "paths": paths,
		"components": object{"schemas": s.defs, "securitySchemes": object{"BearerToken": bearer}},
	}, nil
}

func info() object { return object{"title": "Kubernetes", "version": version.Kubernetes} }

var bearer = object{"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer token authentication"}

// root is where a group version's paths begin.
func root(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.String()
}
