package route_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/gateway/route"
)

func table() *route.Table {
	all := []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	return route.NewTable([]*apiv1.KindInfo{
		{Version: "v1", Kind: "Pod", Resource: "pods", Namespaced: true, Verbs: all, Subresources: []*apiv1.SubresourceInfo{
			{Name: "log", Verbs: []string{"get"}}, {Name: "exec", Verbs: []string{"create", "get"}},
			{Name: "eviction", Group: "policy", Version: "v1", Kind: "Eviction", Verbs: []string{"create"}},
		}},
		{Version: "v1", Kind: "Namespace", Resource: "namespaces", Verbs: []string{"create", "delete", "get", "list", "patch", "update", "watch"}, Subresources: []*apiv1.SubresourceInfo{
			{Name: "status", Verbs: []string{"get", "patch", "update"}}, {Name: "finalize", Verbs: []string{"update"}},
		}},
		{Version: "v1", Kind: "Binding", Resource: "bindings", Namespaced: true, Verbs: []string{"create"}},
		{Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments", Namespaced: true, Verbs: all, Subresources: []*apiv1.SubresourceInfo{
			{Name: "scale", Group: "autoscaling", Version: "v1", Kind: "Scale", Verbs: []string{"get", "patch", "update"}},
		}},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole", Resource: "clusterroles", Verbs: all},
	})
}

func TestURLsBecomeTargets(t *testing.T) {
	for _, c := range []struct{ request, want string }{
		{"GET /api/v1/pods", "list v1 Pod"},
		{"WATCH /api/v1/pods", "watch v1 Pod"},
		{"GET /api/v1/watch/pods", "watch v1 Pod"},
		{"GET /api/v1/watch/namespaces/a/pods/x", "watch v1 Pod a/x"},
		{"GET /api/v1/namespaces/a/pods", "list v1 Pod a/"},
		{"GET /api/v1/namespaces/a/pods/", "list v1 Pod a/"},
		{"GET /api/v1/namespaces/a/pods/x", "get v1 Pod a/x"},
		{"WATCH /api/v1/namespaces/a/pods/x", "get v1 Pod a/x"},
		{"POST /api/v1/namespaces/a/pods", "create v1 Pod a/"},
		{"PUT /api/v1/namespaces/a/pods/x", "update v1 Pod a/x"},
		{"PATCH /api/v1/namespaces/a/pods/x", "patch v1 Pod a/x"},
		{"DELETE /api/v1/namespaces/a/pods/x", "delete v1 Pod a/x"},
		{"DELETE /api/v1/namespaces/a/pods", "deletecollection v1 Pod a/"},
		{"GET /api/v1/namespaces/a/pods/x/log", "get v1 Pod a/x log"},
		{"POST /api/v1/namespaces/a/pods/x/eviction", "create v1 Pod a/x eviction"},
		{"GET /api/v1/namespaces", "list v1 Namespace"},
		{"GET /api/v1/namespaces/a", "get v1 Namespace /a"},
		{"PUT /api/v1/namespaces/a/status", "update v1 Namespace /a status"},
		{"PUT /api/v1/namespaces/a/finalize", "update v1 Namespace /a finalize"},
		{"POST /api/v1/namespaces/a/bindings", "create v1 Binding a/"},
		{"PATCH /apis/apps/v1/namespaces/a/deployments/x/scale", "patch apps/v1 Deployment a/x scale"},
		{"GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system:node", "get rbac.authorization.k8s.io/v1 ClusterRole /system:node"},

		{"GET /api", "no resource"}, {"GET /api/v1", "no resource"}, {"GET /api/v1/", "no resource"}, {"GET /apis/apps", "no resource"},
		{"GET /apis/apps/v1", "no resource"}, {"GET /version", "no resource"}, {"GET /", "no resource"},
		{"GET /api/v1/things", "not found"}, {"GET /apis/apps/v2/deployments", "not found"}, {"GET /api/v1/namespaces/a/things", "not found"},
		{"GET /api/v1/pods/x", "not found"}, {"GET /api/v1/namespaces/a/pods/x/nothing", "not found"}, {"GET /api/v1/namespaces/a/pods/x/log/more", "not found"},
		{"GET /api/v1/namespaces//pods", "not found"}, {"GET /api/v1//pods", "not found"}, {"GET /apis/apps/v1/namespaces/a", "not found"},
		{"GET /apis/rbac.authorization.k8s.io/v1/namespaces/a/clusterroles", "not found"},
		{"POST /api/v1/pods", "not allowed"}, {"DELETE /api/v1/pods", "not allowed"}, {"DELETE /api/v1/namespaces", "not allowed"}, {"PUT /api/v1/namespaces/a/pods", "not allowed"},
		{"POST /api/v1/namespaces/a/pods/x", "not allowed"}, {"POST /api/v1/namespaces/a/pods/x/log", "not allowed"}, {"OPTIONS /api/v1/pods", "not allowed"},
		{"GET /api/v1/namespaces/a/bindings", "not allowed"}, {"POST /api/v1/watch/pods", "not allowed"},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		watch := method == "WATCH"
		if watch {
			method = "GET"
		}
		target, outcome := table().Parse(method, path, watch)
		require.Equal(t, c.want, describe(target, outcome), c.request)
	}
}

func describe(t route.Target, o route.Outcome) string {
	if o != route.Matched {
		return map[route.Outcome]string{route.NotResource: "no resource", route.NotFound: "not found", route.MethodNotAllowed: "not allowed"}[o]
	}
	s := t.Verb.String() + " " + t.Resource.APIVersion + " " + t.Resource.Kind
	if t.Namespace != "" || t.Name != "" {
		s += " " + t.Namespace + "/" + t.Name
	}
	if t.Sub != nil {
		s += " " + t.Sub.Name
	}
	return s
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"/api/v1/namespaces/a/pods/x/log", "/apis/apps/v1/deployments", "/api/v1/watch/namespaces/a/pods", "/apis//v1/x", "/api/v1/namespaces/a/status"} {
		f.Add("GET", s, true)
	}
	tab := table()
	f.Fuzz(func(t *testing.T, method, path string, watch bool) {
		target, outcome := tab.Parse(method, path, watch)
		if outcome != route.Matched {
			return
		}
		if target.Resource == nil || strings.Contains(target.Name, "/") || strings.Contains(target.Namespace, "/") {
			t.Fatalf("%s %s: %+v", method, path, target)
		}
		if target.Namespace != "" && !target.Resource.Namespaced || target.Sub != nil && target.Name == "" {
			t.Fatalf("%s %s: %+v", method, path, target)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	tab := table()
	b.ReportAllocs()
	for b.Loop() {
		tab.Parse("GET", "/apis/apps/v1/namespaces/default/deployments/web/scale", false)
	}
}
