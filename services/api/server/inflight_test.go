package server

import (
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/internal/identity"
)

func TestFloodDoesNotStopTheClustersOwnParts(t *testing.T) {
	l := newLimiter(1, 0)
	jane := identity.User{Name: "jane"}
	leave, err := l.enter(t.Context(), jane)
	require.NoError(t, err)
	_, err = l.enter(t.Context(), jane)
	require.True(t, apierrors.IsTooManyRequests(err))
	seconds, ok := apierrors.SuggestsClientDelay(err)
	require.True(t, ok)
	require.Equal(t, 1, seconds)
	for _, u := range []identity.User{{Name: "system:node:n"}, {Name: "admin", Groups: []string{identity.GroupMasters}}} {
		done, err := l.enter(t.Context(), u)
		require.NoError(t, err)
		done()
	}
	leave()
	_, err = l.enter(t.Context(), jane)
	require.NoError(t, err)
}

func TestOneUserCannotTakeAllWatches(t *testing.T) {
	w := &watches{}
	jane, joe, node := identity.User{Name: "jane"}, identity.User{Name: "joe"}, identity.User{Name: "system:node:n"}
	var leave func()
	for range maxUserWatches {
		var err error
		leave, err = w.enter(jane)
		require.NoError(t, err)
	}
	_, err := w.enter(jane)
	require.True(t, apierrors.IsTooManyRequests(err))
	for _, other := range []identity.User{joe, node} {
		_, err = w.enter(other)
		require.NoError(t, err)
	}
	leave()
	leave()
	_, err = w.enter(jane)
	require.NoError(t, err)
	_, err = w.enter(jane)
	require.True(t, apierrors.IsTooManyRequests(err), "a watch ends once")
}
