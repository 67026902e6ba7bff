package kubelet

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatARequestNeeds(t *testing.T) {
	for path, want := range map[string][]string{
		"/metrics": {"metrics"}, "/metrics/cadvisor": {"metrics"}, "/metricsx": {"proxy"}, "/stats/summary": {"stats"},
		"/pods": {"pods", "proxy"}, "/healthz": {"healthz", "proxy"}, "/": {"proxy"}, "/run/default/p/c": {"proxy"},
	} {
		verb, got := wanted(httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, "get", verb)
		require.Equal(t, want, got, path)
	}
	verb, _ := wanted(httptest.NewRequest(http.MethodPost, "/run", nil))
	require.Equal(t, "create", verb)
}

func TestRecall(t *testing.T) {
	r := newRecall[int, string]()
	r.put(1, "a", time.Hour)
	r.put(2, "b", -time.Second)
	got, ok := r.get(1)
	require.True(t, ok)
	require.Equal(t, "a", got)
	_, ok = r.get(2)
	require.False(t, ok, "too old")
	for i := range 2 * remembered {
		r.put(i, "c", time.Hour)
	}
	require.LessOrEqual(t, len(r.answers), remembered)
}
