package aggregator

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"karve.dev/karve/services/api/registry"
)

func kind(group, version string, custom bool) *registry.Kind {
	k := &registry.Kind{GroupVersionKind: schema.GroupVersionKind{Group: group, Version: version, Kind: "K"}}
	if custom {
		k.Custom = &registry.Custom{}
	}
	return k
}

// local is a local APIService as it is stored.
func local(gv schema.GroupVersion, custom bool) *apiService {
	s := localService(gv, custom)
	s.Status.Conditions = []apiregistrationv1.APIServiceCondition{registry.LocalAPIService(metav1.Now())}
	return s
}

func byName(services ...*apiService) map[string]*apiService {
	out := map[string]*apiService{}
	for _, s := range services {
		out[s.Name] = s
	}
	return out
}

func TestPlanKeepsAnAPIServiceForWhatIsServed(t *testing.T) {
	kinds := []*registry.Kind{kind("", "v1", false), kind("", "v1", false), kind("apps", "v1", false), kind("garden.test", "v1", true), kind(group, "v1", false)}
	foreign := localService(schema.GroupVersion{Group: "apps", Version: "v1"}, false)
	foreign.Spec.Service = &apiregistrationv1.ServiceReference{}
	users := local(schema.GroupVersion{Group: "x.test", Version: "v1"}, false)
	users.Labels = nil
	gone := local(schema.GroupVersion{Group: "gone.test", Version: "v1"}, true)
	was := local(schema.GroupVersion{Version: "v1"}, false)
	was.Status.Conditions[0].Reason = "Passed"

	p := plans(kinds, byName(foreign, users, gone, was))
	require.Len(t, p.insert, 1)
	require.Equal(t, "v1.garden.test", p.insert[0].Name)
	require.Equal(t, managedCustom, p.insert[0].Labels[managed])
	require.Equal(t, []string{"v1.gone.test"}, p.remove)
	require.Equal(t, []string{"v1."}, p.local)
}

func TestOrderIsByPriorityThenByName(t *testing.T) {
	kinds := []*registry.Kind{
		kind("autoscaling", "v1", false), kind("autoscaling", "v2", false), kind("", "v1", false), kind("b.test", "v1", true), kind("b.test", "v2beta1", true),
		kind("a.test", "v1", true), kind(group, "v1", false),
	}
	first := local(schema.GroupVersion{Group: "b.test", Version: "v1"}, true)
	first.Spec.GroupPriorityMinimum = 17999
	unserved := local(schema.GroupVersion{Group: "unserved.test", Version: "v1"}, false)
	require.Equal(t, []string{"apiregistration.k8s.io/v1", "v1", "b.test/v1", "b.test/v2beta1", "autoscaling/v2", "autoscaling/v1", "a.test/v1"},
		orderOf(kinds, byName(first, unserved)))
}

func TestConditionKeepsItsTimeWhileTheStatusStays(t *testing.T) {
	s := local(schema.GroupVersion{Group: "a.test", Version: "v1"}, false)
	since := s.Status.Conditions[0].LastTransitionTime
	next := s.Status.Conditions[0]
	next.Reason, next.LastTransitionTime = "Passed", metav1.NewTime(since.Add(5))
	setCondition(s, next)
	require.Equal(t, since, s.Status.Conditions[0].LastTransitionTime)
	require.Equal(t, "Passed", s.Status.Conditions[0].Reason)
	next.Status = apiregistrationv1.ConditionFalse
	setCondition(s, next)
	require.NotEqual(t, since, s.Status.Conditions[0].LastTransitionTime)
	require.True(t, hasCondition(s, next))
}
