package route_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/gateway/route"
)

func TestWhatFollowsAProxyBelongsToWhomItGoesTo(t *testing.T) {
	sub := []*apiv1.SubresourceInfo{{Name: "proxy", Verbs: []string{"get"}}}
	table := route.NewTable([]*apiv1.KindInfo{
		{Version: "v1", Kind: "Service", Resource: "services", Namespaced: true, Subresources: sub},
		{Version: "v1", Kind: "Node", Resource: "nodes", Subresources: sub},
		{Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespaced: true},
	})
	for _, c := range []struct{ path, name, rest string }{
		{"/api/v1/namespaces/a/services/https:x:1/proxy", "a/https:x:1", ""},
		{"/api/v1/namespaces/a/services/x/proxy/", "a/x", "/"},
		{"/api/v1/namespaces/a/services/x/proxy//b/proxy/c/", "a/x", "//b/proxy/c/"},
		{"/api/v1/nodes/n/proxy/metrics", "/n", "/metrics"},
	} {
		got, ok := table.Proxy("GET", c.path)
		require.True(t, ok, c.path)
		require.Equal(t, c.name, got.Namespace+"/"+got.Name, c.path)
		require.Equal(t, c.rest, got.Rest, c.path)
		require.Equal(t, c.path, got.Prefix+got.Rest)
		require.Equal(t, c.rest, got.Escaped(c.path))
	}
	for _, path := range []string{
		"/api/v1/namespaces/a/configmaps/x/proxy", "/api/v1/services/x/proxy", "/api/v1/namespaces/a/nodes/n/proxy", "/api/v1/nodes//proxy",
		"/api/v1/nodes/n/proxyx", "/apis/apps/v1/nodes/n/proxy", "/api/v1/nodes/proxy", "/proxy", "/api/v1/namespaces/a/services/x/status/proxy",
	} {
		_, ok := table.Proxy("GET", path)
		require.False(t, ok, path)
	}
}
