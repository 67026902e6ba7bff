package discovery

import (
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/gateway/media"
)

const (
	aggregatedGroup = "apidiscovery.k8s.io"
	aggregatedKind  = "APIGroupDiscoveryList"
)

// aggregatedVersions are served alike: v2beta1 has the same fields as v2.
var aggregatedVersions = []string{"v2", "v2beta1"}

func (d *Documents) addAggregated(groups []*group) error {
	lists := map[string][]apidiscoveryv2.APIGroupDiscovery{"/api": {}, "/apis": {}}
	for _, g := range groups {
		path := "/apis"
		if g.name == "" {
			path = "/api"
		}
		lists[path] = append(lists[path], groupDiscovery(g))
	}
	for path, items := range lists {
		d.aggregated[path] = map[string]*Document{}
		for _, v := range aggregatedVersions {
			list := apidiscoveryv2.APIGroupDiscoveryList{TypeMeta: metav1.TypeMeta{Kind: aggregatedKind, APIVersion: aggregatedGroup + "/" + v}, Items: items}
			doc, err := newDocument(media.ContentTypeJSON+";g="+aggregatedGroup+";v="+v+";as="+aggregatedKind, list)
			if err != nil {
				return err
			}
			doc.ETag = etag(doc.Body)
			d.aggregated[path][v] = doc
		}
	}
	return nil
}

func groupDiscovery(g *group) apidiscoveryv2.APIGroupDiscovery {
	out := apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g.name}}
	for _, v := range g.versions {
		one := apidiscoveryv2.APIVersionDiscovery{Version: v.name, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
		if v.stale {
			one.Freshness = apidiscoveryv2.DiscoveryFreshnessStale
		}
		for _, k := range sorted(v.kinds) {
			one.Resources = append(one.Resources, resourceDiscovery(k))
		}
		out.Versions = append(out.Versions, one)
	}
	return out
}

func resourceDiscovery(k *apiv1.KindInfo) apidiscoveryv2.APIResourceDiscovery {
	out := apidiscoveryv2.APIResourceDiscovery{
		Resource: k.GetResource(), ResponseKind: gvk(k.GetGroup(), k.GetVersion(), k.GetKind()), Scope: apidiscoveryv2.ScopeCluster,
		SingularResource: k.GetSingular(), Verbs: sortedNames(k.GetVerbs()), ShortNames: k.GetShortNames(), Categories: k.GetCategories(),
	}
	if k.GetNamespaced() {
		out.Scope = apidiscoveryv2.ScopeNamespace
	}
	for _, s := range sortedSubs(k.GetSubresources()) {
		kind := gvk(k.GetGroup(), k.GetVersion(), k.GetKind())
		if s.GetVersion() != "" {
			kind = gvk(s.GetGroup(), s.GetVersion(), s.GetKind())
		}
		out.Subresources = append(out.Subresources, apidiscoveryv2.APISubresourceDiscovery{Subresource: s.GetName(), ResponseKind: kind, Verbs: sortedNames(s.GetVerbs())})
	}
	return out
}
