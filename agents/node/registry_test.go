package node_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// registry is one that a test serves: every name is an image of its own with the tests' program. Engines take it without
// TLS because it is on loopback. With a login it wants to be told that.
type registry struct {
	*httptest.Server
	host  string
	layer []byte
	login string // "user:password"
	diff  string
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func newRegistry(t testing.TB, login string) *registry {
	archive, err := buildApp()
	require.NoError(t, err)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err = w.Write(archive)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	r := &registry{layer: packed.Bytes(), diff: digestOf(archive), login: login}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	r.host = strings.TrimPrefix(r.URL, "http://")
	t.Cleanup(r.Close)
	return r
}

// config is what an image is, beside its files.
func (r *registry) config(name string) []byte {
	out, _ := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []string{r.diff}},
		"config": map[string]any{"Entrypoint": []string{"/app"}, "Labels": map[string]string{"name": name}},
	})
	return out
}

const manifestType = "application/vnd.docker.distribution.manifest.v2+json"

func (r *registry) manifest(name string) []byte {
	config := r.config(name)
	out, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": map[string]any{"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config), "digest": digestOf(config)},
		"layers": []any{map[string]any{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": len(r.layer), "digest": digestOf(r.layer)}},
	})
	return out
}

func (r *registry) serve(w http.ResponseWriter, req *http.Request) {
	if user, password, _ := req.BasicAuth(); r.login != "" && user+":"+password != r.login {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	name, what, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v2/"), "/")
	kind, ref, _ := strings.Cut(what, "/")
	var body []byte
	switch {
	case req.URL.Path == "/v2/":
		return
	case strings.HasPrefix(name, "missing"):
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`))
		return
	case kind == "manifests":
		body = r.manifest(name)
		w.Header().Set("Content-Type", manifestType)
		w.Header().Set("Docker-Content-Digest", digestOf(body))
	case ref == digestOf(r.layer):
		body = r.layer
	default:
		body = r.config(name)
	}
	_, _ = w.Write(body)
}
