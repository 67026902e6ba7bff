package aggregator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/server"
)

const (
	// maxDocument bounds an OpenAPI document of another server.
	maxDocument = 32 << 20
	// docsTimeout bounds how long a question waits for all other servers, docsAge how old their answers may be.
	docsTimeout = 3 * time.Second
	docsAge     = 30 * time.Second
)

// documents are what a server's OpenAPI documents were when somebody asked last.
type documents struct {
	mu    sync.Mutex
	asked time.Time
	// tag is the hash of the version 3 document, as the server's index names it; empty when there is none.
	tag string
	// second is the version 2 document, once somebody wanted it.
	second      []byte
	secondAsked time.Time
}

// OpenAPI adds what other servers describe to the documents of the API service; nil when these have none.
func (a *Aggregator) OpenAPI(own server.OpenAPI) server.OpenAPI {
	if own == nil {
		return nil
	}
	return func(groupVersion string, major int) (document []byte, tag string, err error) {
		// Making the own documents takes its time: what the others have begins when they are asked.
		asking := func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), docsTimeout)
		}
		if groupVersion != "" {
			ctx, cancel := asking()
			defer cancel()
			if gv, err := schema.ParseGroupVersion(groupVersion); err == nil && major == 3 {
				if r := a.usable(nameOf(gv)); r != nil {
					return r.third(ctx)
				}
			}
			return own(groupVersion, major)
		}
		if document, tag, err = own(groupVersion, major); err != nil {
			return nil, "", err
		}
		servers := a.allUsable()
		if len(servers) == 0 {
			return document, tag, nil
		}
		ctx, cancel := asking()
		defer cancel()
		if major == 3 {
			return a.index(ctx, document, tag, servers)
		}
		return a.merge(ctx, document, tag, servers)
	}
}

func (a *Aggregator) usable(name string) *remote {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.servers[name]; r != nil && r.state.available {
		return r
	}
	return nil
}

func (a *Aggregator) allUsable() []*remote {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []*remote
	for _, name := range slices.Sorted(maps.Keys(a.servers)) {
		if r := a.servers[name]; r.state.available {
			out = append(out, r)
		}
	}
	return out
}

// path is where the group version's document of major version 3 is, below /openapi/v3/.
func (r *remote) path() string { return "apis/" + r.spec.Group + "/" + r.spec.Version }

// refresh asks the server for its index, when what it said last is old.
func (r *remote) refresh(ctx context.Context) (tag string) {
	r.docs.mu.Lock()
	defer r.docs.mu.Unlock()
	if time.Since(r.docs.asked) < docsAge {
		return r.docs.tag
	}
	body, err := r.get(ctx, "/openapi/v3", maxDocument)
	if err != nil {
		return r.docs.tag // what it said before will do
	}
	r.docs.asked, r.docs.tag = time.Now(), ""
	var index struct {
		Paths map[string]struct {
			URL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	if json.Unmarshal(body, &index) != nil || index.Paths[r.path()].URL == "" {
		return ""
	}
	at, err := url.Parse(index.Paths[r.path()].URL)
	if err != nil {
		return ""
	}
	if r.docs.tag = at.Query().Get("hash"); r.docs.tag == "" {
		r.docs.tag = sum(index.Paths[r.path()].URL)
	}
	return r.docs.tag
}

// third is the server's document of major version 3, under the tag by which the index names it.
func (r *remote) third(ctx context.Context) ([]byte, string, error) {
	tag := r.refresh(ctx)
	document, err := r.get(ctx, "/openapi/v3/"+r.path(), maxDocument)
	if err != nil {
		return nil, "", fmt.Errorf("the server of %s: %w", r.name, err)
	}
	if tag == "" {
		tag = sum(string(document))
	}
	return document, tag, nil
}

// index adds where the documents of other servers are.
func (a *Aggregator) index(ctx context.Context, document []byte, tag string, servers []*remote) ([]byte, string, error) {
	var index struct {
		Paths map[string]map[string]string `json:"paths"`
	}
	if err := json.Unmarshal(document, &index); err != nil {
		return nil, "", fmt.Errorf("read the index of OpenAPI documents: %w", err)
	}
	tags := make([]string, len(servers))
	var asking sync.WaitGroup
	for i, r := range servers {
		asking.Go(func() { tags[i] = r.refresh(ctx) })
	}
	asking.Wait()
	for i, r := range servers {
		if tags[i] != "" {
			index.Paths[r.path()] = map[string]string{"serverRelativeURL": "/openapi/v3/" + r.path() + "?hash=" + url.QueryEscape(tags[i])}
		}
	}
	document, err := json.Marshal(index)
	return document, sum(tag + " " + strings.Join(tags, " ")), err
}

// merge adds what other servers say of their group versions in OpenAPI version 2. Where both describe a type, the API
// service's own description stays.
func (a *Aggregator) merge(ctx context.Context, document []byte, tag string, servers []*remote) ([]byte, string, error) {
	var into map[string]json.RawMessage
	if err := json.Unmarshal(document, &into); err != nil {
		return nil, "", fmt.Errorf("read the OpenAPI v2 document: %w", err)
	}
	tags := []string{tag}
	for _, part := range []string{"paths", "definitions"} {
		var all map[string]json.RawMessage
		if err := json.Unmarshal(into[part], &all); err != nil {
			return nil, "", fmt.Errorf("read the OpenAPI v2 document: %w", err)
		}
		for _, r := range servers {
			var theirs map[string]json.RawMessage
			var parts map[string]json.RawMessage
			said := r.secondly(ctx)
			tags = append(tags, sum(string(said)))
			if json.Unmarshal(said, &parts) != nil || json.Unmarshal(parts[part], &theirs) != nil {
				continue
			}
			for name, what := range theirs {
				if _, have := all[name]; !have && (part == "definitions" || strings.HasPrefix(name, "/"+r.path()+"/")) {
					all[name] = what
				}
			}
		}
		data, err := json.Marshal(all)
		if err != nil {
			return nil, "", err
		}
		into[part] = data
	}
	document, err := json.Marshal(into)
	return document, sum(strings.Join(tags, " ")), err
}

// secondly is the server's document of major version 2, nil when it has none that is known.
func (r *remote) secondly(ctx context.Context) []byte {
	r.docs.mu.Lock()
	defer r.docs.mu.Unlock()
	if time.Since(r.docs.secondAsked) >= docsAge {
		if document, err := r.get(ctx, "/openapi/v2", maxDocument); err == nil {
			r.docs.second, r.docs.secondAsked = document, time.Now()
		}
	}
	return r.docs.second
}

func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return strings.ToUpper(hex.EncodeToString(h[:]))
}
