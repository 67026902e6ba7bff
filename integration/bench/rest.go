package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// overREST speaks HTTP/2 on a few connections.
type overREST struct {
	base    string
	clients []*http.Client
	next    atomic.Uint32
}

func newREST(config *rest.Config, conns int) (*overREST, error) {
	r := &overREST{base: "https://" + strings.TrimPrefix(config.Host, "https://")}
	for range conns {
		tls, err := rest.TLSConfigFor(config)
		if err != nil {
			return nil, err
		}
		r.clients = append(r.clients, &http.Client{Transport: &http.Transport{TLSClientConfig: tls, ForceAttemptHTTP2: true, DisableCompression: true}})
	}
	return r, nil
}

func (r *overREST) name() string { return "REST" }

var plurals = map[string]string{"Pod": "pods", "ConfigMap": "configmaps"}

func (r *overREST) path(kind string) string { return "/api/v1/namespaces/" + ns + "/" + plurals[kind] }

// open sends a request and returns the answer's body.
func (r *overREST) open(ctx context.Context, method, path, contentType, accept string, body []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := r.clients[int(r.next.Add(1))%len(r.clients)].Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		defer res.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, res.Status, said)
	}
	return res.Body, nil
}

func (r *overREST) do(ctx context.Context, method, path, contentType, accept string, body []byte) (int, error) {
	answer, err := r.open(ctx, method, path, contentType, accept, body)
	if err != nil {
		return 0, err
	}
	defer answer.Close()
	n, err := io.Copy(io.Discard, answer)
	return int(n), err
}

const asJSON = "application/json"

func (r *overREST) create(ctx context.Context, kind string, body []byte) error {
	_, err := r.do(ctx, http.MethodPost, r.path(kind), asJSON, asJSON, body)
	return err
}

func (r *overREST) get(ctx context.Context, kind, name string) error {
	_, err := r.do(ctx, http.MethodGet, r.path(kind)+"/"+name, "", asJSON, nil)
	return err
}

func (r *overREST) list(ctx context.Context, encoding string, opts metav1.ListOptions) (int, error) {
	accept := asJSON
	if encoding == "protobuf" {
		accept = "application/vnd.kubernetes.protobuf"
	}
	q := url.Values{"labelSelector": {opts.LabelSelector}, "fieldSelector": {opts.FieldSelector}, "resourceVersion": {opts.ResourceVersion}}
	return r.do(ctx, http.MethodGet, r.path("Pod")+"?"+q.Encode(), "", accept, nil)
}

func (r *overREST) patch(ctx context.Context, name, body string) error {
	_, err := r.do(ctx, http.MethodPatch, r.path("Pod")+"/"+name, "application/merge-patch+json", asJSON, []byte(body))
	return err
}

func (r *overREST) watch(ctx context.Context, revision string, opened func(), event func([]byte)) error {
	body, err := r.open(ctx, http.MethodGet, r.path("Pod")+"?watch=1&resourceVersion="+revision, "", asJSON, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	opened()
	for in := bufio.NewReaderSize(body, 16<<10); ; {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		event(line)
	}
}

func mustJSON(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return out
}
