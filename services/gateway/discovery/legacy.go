package discovery

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/gateway/media"
)

func (d *Documents) addLegacy(groups []*group) error {
	core := metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{}, ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{}}
	list := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{}}
	for _, g := range groups {
		root := "/apis/" + g.name
		if g.name == "" {
			root = "/api"
			for _, v := range g.versions {
				core.Versions = append(core.Versions, v.name)
			}
		} else {
			one := apiGroup(g)
			list.Groups = append(list.Groups, one)
			one.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
			if err := d.put(root, one); err != nil {
				return err
			}
		}
		for _, v := range g.versions {
			if err := d.put(root+"/"+v.name, resourceList(g, v)); err != nil {
				return err
			}
		}
	}
	if err := d.put("/api", core); err != nil {
		return err
	}
	return d.put("/apis", list)
}

func (d *Documents) put(path string, v any) error {
	doc, err := newDocument(media.ContentTypeJSON, v)
	d.legacy[path] = doc
	return err
}

func apiGroup(g *group) metav1.APIGroup {
	out := metav1.APIGroup{Name: g.name}
	for _, v := range g.versions {
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{GroupVersion: g.name + "/" + v.name, Version: v.name})
	}
	out.PreferredVersion = out.Versions[0]
	return out
}

func resourceList(g *group, v *version) metav1.APIResourceList {
	groupVersion := v.name
	if g.name != "" {
		groupVersion = g.name + "/" + v.name
	}
	out := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: groupVersion, APIResources: []metav1.APIResource{}}
	for _, k := range sorted(v.kinds) {
		out.APIResources = append(out.APIResources, metav1.APIResource{
			Name: k.GetResource(), SingularName: k.GetSingular(), Namespaced: k.GetNamespaced(), Kind: k.GetKind(),
			Verbs: sortedNames(k.GetVerbs()), ShortNames: k.GetShortNames(), Categories: k.GetCategories(),
		})
		for _, s := range sortedSubs(k.GetSubresources()) {
			sub := metav1.APIResource{Name: k.GetResource() + "/" + s.GetName(), Namespaced: k.GetNamespaced(), Kind: k.GetKind(), Verbs: sortedNames(s.GetVerbs())}
			if s.GetKind() != "" {
				sub.Kind = s.GetKind()
				if s.GetGroup() != k.GetGroup() || s.GetVersion() != k.GetVersion() {
					sub.Group, sub.Version = s.GetGroup(), s.GetVersion()
				}
			}
			out.APIResources = append(out.APIResources, sub)
		}
	}
	return out
}

// sorted returns kinds in the order of their plurals, as Kubernetes lists them.
func sorted(kinds []*apiv1.KindInfo) []*apiv1.KindInfo {
	return slices.SortedFunc(slices.Values(kinds), func(a, b *apiv1.KindInfo) int {
		if a.GetResource() < b.GetResource() {
			return -1
		}
		return 1
	})
}

func sortedSubs(subs []*apiv1.SubresourceInfo) []*apiv1.SubresourceInfo {
	return slices.SortedFunc(slices.Values(subs), func(a, b *apiv1.SubresourceInfo) int {
		if a.GetName() < b.GetName() {
			return -1
		}
		return 1
	})
}

// sortedNames never returns nil: clients expect a list.
func sortedNames(names []string) []string {
	out := append([]string{}, names...)
	slices.Sort(out)
	return out
}
