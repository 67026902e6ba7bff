package identity

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var robot = TokenSpec{
	Namespace: "team", ServiceAccount: Ref{"robot", "sa-uid"}, Pod: &Ref{"web", "pod-uid"}, Node: &Ref{"n1", "node-uid"},
	Audiences: []string{"https://api"}, Life: time.Hour,
}

func TestTokensSayWhatKubernetesTokensSay(t *testing.T) {
	tokens := must(newCluster(t, t.TempDir()).Tokens())
	token, expires, err := tokens.Sign(robot)
	require.NoError(t, err)
	body := must(base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1]))
	var claims map[string]any
	require.NoError(t, json.Unmarshal(body, &claims))
	require.Equal(t, []any{"https://api"}, claims["aud"])
	require.Equal(t, "system:serviceaccount:team:robot", claims["sub"])
	require.InDelta(t, expires.Unix(), claims["exp"], 0)
	require.Equal(t, map[string]any{
		"namespace": "team", "serviceaccount": map[string]any{"name": "robot", "uid": "sa-uid"},
		"pod": map[string]any{"name": "web", "uid": "pod-uid"}, "node": map[string]any{"name": "n1", "uid": "node-uid"},
	}, claims["kubernetes.io"])

	verified, err := tokens.Verify(token)
	require.NoError(t, err)
	u := verified.User()
	require.Equal(t, "system:serviceaccount:team:robot", u.Name)
	require.Equal(t, "sa-uid", u.UID)
	require.Equal(t, []string{"system:serviceaccounts", "system:serviceaccounts:team"}, u.Groups)
	require.Equal(t, []string{"web"}, u.Extra[ExtraPodName])
	require.Equal(t, []string{"JTI=" + verified.ID}, u.Extra[ExtraCredentialID])
}

func TestBadTokensAreRefused(t *testing.T) {
	dir, otherDir := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		tokens := must(newCluster(t, dir).Tokens())
		other := must(newCluster(t, otherDir).Tokens())
		good, _, err := tokens.Sign(robot)
		require.NoError(t, err)
		foreign, _, err := other.Sign(robot)
		require.NoError(t, err)
		parts := strings.Split(good, ".")
		none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
		for what, token := range map[string]string{
			"nothing": "", "noise": "x.y.z", "another cluster's": foreign, "unsigned": none + "." + parts[1] + ".",
			"changed": parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"admin"}`)) + "." + parts[2],
		} {
			_, err := tokens.Verify(token)
			require.Error(t, err, what)
		}
		_, err = tokens.Verify(good)
		require.NoError(t, err)
		time.Sleep(time.Hour + time.Second)
		_, err = tokens.Verify(good)
		require.Error(t, err, "expired")
	})
}

func BenchmarkVerify(b *testing.B) {
	tokens := must(newCluster(b, b.TempDir()).Tokens())
	token, _, err := tokens.Sign(robot)
	require.NoError(b, err)
	for b.Loop() {
		if _, err := tokens.Verify(token); err != nil {
			b.Fatal(err)
		}
	}
}
