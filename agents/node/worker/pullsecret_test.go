package worker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhichLoginIsForAnImage(t *testing.T) {
	for _, c := range []struct {
		registry, image string
		want            bool
	}{
		{"https://index.docker.io/v1/", "app", true},
		{"docker.io", "team/app:1", true},
		{"reg.example", "app", false},
		{"reg.example", "reg.example/app", true},
		{"reg.example:5000", "reg.example/app", false},
		{"reg.example/team", "reg.example/team/app", true},
		{"reg.example/team", "reg.example/teammate/app", false},
		{"*.example", "reg.example/app", true},
		{"*.example", "a.reg.example/app", false},
		{"*.example:5000", "reg.example:5000/app", true},
	} {
		require.Equal(t, c.want, matches(c.registry, c.image), "%s for %s", c.registry, c.image)
	}
	auths := logins([]byte(`{"auths":{"reg.example":{"auth":"YTpi"},"reg.example/team":{"username":"c","password":"d"},"other":{}}}`))
	got := forImage(auths, "reg.example/team/app")
	require.Len(t, got, 2)
	require.Equal(t, "c", got[0].Username, "the login for less comes first")
	require.Equal(t, "b", got[1].Password)
}
