package api_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/store/memstore"
)

func TestOldEventsGo(t *testing.T) {
	event := func(name string, last time.Time) *corev1.Event {
		return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, LastTimestamp: metav1.NewTime(last), InvolvedObject: corev1.ObjectReference{Namespace: "default"}}
	}
	s := memstore.New()
	first := apitest.Start(t, func(c *api.Config) { c.Store = s })
	cl := first.Client(apitest.Admin)
	require.NoError(t, cl.Create(t.Context(), event("new", time.Now().Add(time.Hour))))
	require.NoError(t, cl.Create(t.Context(), event("old", time.Now())))
	w, err := cl.Watch(t.Context(), &corev1.Event{}, client.ListOptions{}, "")
	require.NoError(t, err)

	// A second API over the same store begins with what the first has left.
	apitest.Start(t, func(c *api.Config) { c.Store, c.EventTTL = s, time.Nanosecond })
	for {
		ev, err := w.Next()
		require.NoError(t, err)
		if ev.Type.String() == "TYPE_DELETED" {
			gone := &corev1.Event{}
			require.NoError(t, client.Decode(ev.Object, gone))
			require.Equal(t, "old", gone.Name)
			return
		}
	}
}
