package extension

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"

	"karve.dev/karve/services/api/openapi"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/server"
)

// documents are the custom kinds that OpenAPI documents describe, as they are served. Documents are made anew each time
// somebody asks: clients keep them by their tags.
type documents struct {
	kinds atomic.Pointer[[]*registry.Kind]
}

func (d *documents) set(kinds []*registry.Kind) { d.kinds.Store(&kinds) }

// of returns the kinds of a group version, or all.
func (d *documents) of(groupVersion string, all bool) (out []*registry.Kind) {
	if kinds := d.kinds.Load(); kinds != nil {
		for _, k := range *kinds {
			if all || k.GroupVersion().String() == groupVersion {
				out = append(out, k)
			}
		}
	}
	return out
}

// OpenAPI adds the custom kinds to the documents of the built-in ones; nil when these have none.
func (x *Extensions) OpenAPI(builtIn server.OpenAPI) server.OpenAPI {
	if builtIn == nil {
		return nil
	}
	return func(groupVersion string, major int) (document []byte, tag string, err error) {
		kinds := x.docs.of(groupVersion, groupVersion == "")
		if len(kinds) == 0 {
			return builtIn(groupVersion, major)
		}
		if groupVersion == "" || x.builtIn(groupVersion) {
			if document, tag, err = builtIn(groupVersion, major); err != nil {
				return nil, "", err
			}
		}
		if groupVersion == "" && major == 3 {
			return x.index(document, tag, kinds, builtIn)
		}
		custom, err := describe(kinds)
		if err != nil {
			return nil, "", err
		}
		document, err = openapi.AddCustom(document, major, custom)
		return document, tagOf(tag, kinds), err
	}
}

func (x *Extensions) builtIn(groupVersion string) bool {
	for _, k := range x.config.BuiltIn {
		if k.GroupVersion().String() == groupVersion {
			return true
		}
	}
	return false
}

// describe reads the schemas of kinds.
func describe(kinds []*registry.Kind) ([]openapi.Custom, error) {
	out := make([]openapi.Custom, len(kinds))
	for i, k := range kinds {
		out[i].Kind = k
		props, err := k.New().(*Custom).version.schema.Declared()
		if props != nil && err == nil {
			var data []byte
			if data, err = json.Marshal(props); err == nil {
				err = json.Unmarshal(data, &out[i].Schema)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("read the schema of %s: %w", k.Resource, err)
		}
	}
	return out, nil
}

// index adds where the documents of custom kinds are.
func (x *Extensions) index(document []byte, tag string, kinds []*registry.Kind, builtIn server.OpenAPI) ([]byte, string, error) {
	var index struct {
		Paths map[string]map[string]string `json:"paths"`
	}
	seen := map[string]bool{}
	if err := json.Unmarshal(document, &index); err != nil {
		return nil, "", fmt.Errorf("read the index of OpenAPI documents: %w", err)
	}
	for _, k := range kinds {
		gv := k.GroupVersion().String()
		path := "apis/" + gv
		if seen[path] {
			continue
		}
		seen[path] = true
		of := ""
		if x.builtIn(gv) {
			_, built, err := builtIn(gv, 3)
			if err != nil {
				return nil, "", err
			}
			of = built
		}
		url := "/openapi/v3/" + path + "?hash=" + tagOf(of, x.docs.of(gv, false))
		index.Paths[path] = map[string]string{"serverRelativeURL": url}
	}
	document, err := json.Marshal(index)
	return document, tagOf(tag, kinds), err
}

// tagOf changes when a document does: when the built-in part (whose tag it takes) or a kind does.
func tagOf(builtIn string, kinds []*registry.Kind) string {
	h := sha256.New()
	fmt.Fprintln(h, builtIn)
	for _, k := range kinds {
		fmt.Fprintln(h, k.GroupVersionKind, k.Resource, k.ListKindName(), k.Custom.Variant, k.Verbs)
	}
	return strings.ToUpper(hex.EncodeToString(h.Sum(nil)))
}
