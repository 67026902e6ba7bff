package api_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
)

func TestComponentsAreHealthyWhileTheyAreConnected(t *testing.T) {
	c := apitest.Start(t, func(config *api.Config) { config.Companions = []string{identity.UserControllers} })
	admin := c.Client(apitest.Admin)
	messages := func() map[string]string {
		var list corev1.ComponentStatusList
		require.NoError(t, admin.List(t.Context(), &list, client.ListOptions{}))
		out := map[string]string{}
		for _, s := range list.Items {
			out[s.Name] = string(s.Conditions[0].Status) + " " + s.Conditions[0].Message
		}
		return out
	}
	require.Equal(t, map[string]string{"scheduler": "False not connected to the API", "controller-manager": "True ok", "etcd-0": "True ok"}, messages())
	c.Informers(identity.User{Name: identity.UserScheduler}, func(set *informer.Set) { informer.For[*corev1.Node](set) })
	require.Eventually(t, func() bool { return messages()["scheduler"] == "True ok" }, 10*time.Second, 10*time.Millisecond)
	one := &corev1.ComponentStatus{}
	require.NoError(t, admin.Get(t.Context(), one, "", "etcd-0"))
	require.ErrorContains(t, admin.Get(t.Context(), one, "", "etcd-1"), `componentstatuses "etcd-1" not found`)
}
