package cluster

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// parse applies flags to settings, as a command does.
func parse(t *testing.T, to *Access, args ...string) error {
	t.Helper()
	set := pflag.NewFlagSet("up", pflag.ContinueOnError)
	flags := NewAccessFlags(set)
	require.NoError(t, set.Parse(args))
	return flags.Apply(to)
}

func TestAccessIsKeptAndChangedByFlags(t *testing.T) {
	var a Access
	require.NoError(t, parse(t, &a, "--oidc-issuer-url=https://id.example.org", "--oidc-client-id=karve", "--oidc-required-claim=hd=example.org", "--oidc-ca-file=ca.crt",
		"--audit-policy-file=policy.yaml", "--audit-log-path=-", "--audit-log-maxage=7", "--anonymous-auth=false"))
	abs, err := filepath.Abs("ca.crt")
	require.NoError(t, err)
	require.Equal(t, abs, a.OIDC.CAFile, "the daemon runs elsewhere")
	require.Equal(t, "-", a.Audit.LogPath)
	require.Equal(t, map[string]string{"hd": "example.org"}, a.OIDC.RequiredClaims)
	require.True(t, a.Recorded() && a.DisallowAnonymous)

	raw, err := json.Marshal(Settings{Access: a})
	require.NoError(t, err)
	var again Settings
	require.NoError(t, json.Unmarshal(raw, &again))
	require.Equal(t, a, again.Access)
	require.NoError(t, parse(t, &again.Access))
	require.Equal(t, a, again.Access, "no flags, no change")
	require.NoError(t, parse(t, &again.Access, "--audit-policy-file=", "--audit-log-path=", "--anonymous-auth"))
	require.False(t, again.Access.Recorded() || again.Access.DisallowAnonymous)

	raw, err = json.Marshal(Settings{})
	require.NoError(t, err)
	require.NotContains(t, string(raw), "access")
}

func TestAccessThatMakesNoSenseIsRefused(t *testing.T) {
	for _, args := range [][]string{
		{"--oidc-issuer-url=https://id.example.org"},
		{"--oidc-groups-claim=groups"},
		{"--audit-log-path=/tmp/x"},
		{"--audit-policy-file=/tmp/x"},
		{"--oidc-issuer-url=https://id.example.org", "--oidc-client-id=x", "--authentication-config=/tmp/x"},
	} {
		require.Error(t, parse(t, &Access{}, args...), args)
	}
}
