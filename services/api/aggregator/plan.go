package aggregator

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"karve.dev/karve/services/api/registry"
)

type apiService = apiregistrationv1.APIService

const (
	group = apiregistrationv1.GroupName
	// managed marks the APIServices that come and go with what the API service itself serves: "onstart" those of built-in
	// kinds, "true" those of custom ones.
	managed        = "kube-aggregator.kubernetes.io/automanaged"
	managedBuiltIn = "onstart"
	managedCustom  = "true"
)

// plan is what is to be done so that each group version of the API service itself has its APIService.
type plan struct {
	insert []*apiService
	remove []string
	// local are those that lack the condition of local ones.
	local []string
}

// plans decides by what is served and what there is. What names a server is somebody's own and stays.
func plans(kinds []*registry.Kind, known map[string]*apiService) plan {
	var p plan
	wanted := map[string]bool{}
	for _, k := range kinds {
		name := nameOf(k.GroupVersion())
		if k.Group == group || wanted[name] {
			continue
		}
		wanted[name] = true
		if known[name] == nil {
			p.insert = append(p.insert, localService(k.GroupVersion(), k.Custom != nil))
		}
	}
	for name, have := range known {
		switch {
		case have.Spec.Service != nil:
		case have.Labels[managed] != "" && !wanted[name]:
			p.remove = append(p.remove, name)
		case !hasCondition(have, registry.LocalAPIService(metav1.Time{})):
			p.local = append(p.local, name)
		}
	}
	return p
}

func nameOf(gv schema.GroupVersion) string { return gv.Version + "." + gv.Group }

func localService(gv schema.GroupVersion, custom bool) *apiService {
	by := managedBuiltIn
	if custom {
		by = managedCustom
	}
	priority := priorityOf(gv, custom)
	return &apiService{
		ObjectMeta: metav1.ObjectMeta{Name: nameOf(gv), Labels: map[string]string{managed: by}},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: priority.group, VersionPriority: priority.version,
		},
	}
}

// hasCondition reports whether an APIService is told to be in a condition, whenever that began.
func hasCondition(s *apiService, want apiregistrationv1.APIServiceCondition) bool {
	for _, c := range s.Status.Conditions {
		if c.Type == want.Type {
			c.LastTransitionTime = want.LastTransitionTime
			return c == want
		}
	}
	return false
}

// setCondition replaces the condition of that type. The time stays while the status does.
func setCondition(s *apiService, want apiregistrationv1.APIServiceCondition) {
	for i := range s.Status.Conditions {
		c := &s.Status.Conditions[i]
		if c.Type != want.Type {
			continue
		}
		if c.Status == want.Status {
			want.LastTransitionTime = c.LastTransitionTime
		}
		*c = want
		return
	}
	s.Status.Conditions = append(s.Status.Conditions, want)
}

// orderOf returns all group versions that are served, by whomever, in the order of preference.
func orderOf(kinds []*registry.Kind, known map[string]*apiService) []string {
	all := map[schema.GroupVersion]priority{}
	for _, k := range kinds {
		all[k.GroupVersion()] = priorityOf(k.GroupVersion(), k.Custom != nil)
	}
	for _, s := range known {
		gv := schema.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version}
		if _, served := all[gv]; served || s.Spec.Service != nil {
			all[gv] = priority{s.Spec.GroupPriorityMinimum, s.Spec.VersionPriority}
		}
	}
	// Who serves the others comes first, as in Kubernetes.
	delete(all, apiregistrationv1.SchemeGroupVersion)
	order := []string{apiregistrationv1.SchemeGroupVersion.String()}
	for _, gv := range ordered(all) {
		order = append(order, gv.String())
	}
	return order
}
