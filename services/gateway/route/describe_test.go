package route_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/services/gateway/route"
)

func TestRequestsForOtherServersAreAuthorizedAsWhatTheyAskFor(t *testing.T) {
	for _, c := range []struct{ request, want string }{
		{"GET /apis/a.io/v1", "get /apis/a.io/v1"},
		{"GET /apis/a.io/v1/", "get /apis/a.io/v1/"},
		{"GET /apis/a.io/v1/flowers", "list a.io/v1 flowers"},
		{"GET /apis/a.io/v1/flowers?watch=true", "watch a.io/v1 flowers long"},
		{"GET /apis/a.io/v1/watch/flowers", "watch a.io/v1 flowers long"},
		{"GET /apis/a.io/v1/flowers?fieldSelector=metadata.name%3Drose", "list a.io/v1 flowers rose"},
		{"HEAD /apis/a.io/v1/flowers/rose", "get a.io/v1 flowers rose"},
		{"POST /apis/a.io/v1/namespaces/n/flowers", "create a.io/v1 n: flowers"},
		{"DELETE /apis/a.io/v1/namespaces/n/flowers", "deletecollection a.io/v1 n: flowers"},
		{"DELETE /apis/a.io/v1/namespaces/n/flowers/rose", "delete a.io/v1 n: flowers rose"},
		{"PUT /apis/a.io/v1/namespaces/n/flowers/rose/status", "update a.io/v1 n: flowers rose/status"},
		{"GET /apis/a.io/v1/namespaces/n/flowers/rose/proxy/x", "get a.io/v1 n: flowers rose/proxy long"},
		{"OPTIONS /apis/a.io/v1/flowers", " a.io/v1 flowers"},
	} {
		method, target, _ := strings.Cut(c.request, " ")
		u, err := url.Parse(target)
		require.NoError(t, err)
		r := route.Describe(method, u.Path, u.Query())
		got := r.Verb + " " + r.Path
		if r.Resource != "" {
			got = r.Verb + " " + r.Group + "/" + r.Version + " "
			if r.Namespace != "" {
				got += r.Namespace + ": "
			}
			got = strings.TrimSpace(got+r.Resource+" "+r.Name) + strings.TrimSuffix("/"+r.Subresource, "/")
			if r.Verb == "" {
				got = " " + got
			}
		}
		if r.LongRunning {
			got += " long"
		}
		require.Equal(t, c.want, got, c.request)
	}
}
