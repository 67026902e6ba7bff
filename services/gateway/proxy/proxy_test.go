package proxy

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatIsBetweenClientAndAPIGoesNoFurther(t *testing.T) {
	h := http.Header{
		"Authorization": {"Bearer x"}, "Impersonate-User": {"a"}, "Impersonate-Extra-A": {"b"}, "X-Remote-User": {"root"}, "X-Remote-Extra-A": {"b"},
		"Sec-Websocket-Protocol": {"base64url.bearer.authorization.k8s.io.eA, chat", "v2"}, "Cookie": {"c=d"},
	}
	strip(h)
	require.Equal(t, http.Header{"Sec-Websocket-Protocol": {"chat, v2"}, "Cookie": {"c=d"}}, h)
}

func TestRedirectsBelongBelowTheProxy(t *testing.T) {
	const prefix = "/api/v1/nodes/n/proxy"
	for _, c := range []struct{ location, want string }{
		{"/a/?b=c#d", prefix + "/a/?b=c#d"},
		{"/", prefix + "/"},
		{"https://here:1/a", prefix + "/a"},
		{prefix + "/a", prefix + "/a"},
		{"https://there/a", "https://there/a"},
		{"a/b", "a/b"},
		{"?a", "?a"},
		{"mailto:a@b", "mailto:a@b"},
		{"/%zz", "/%zz"},
	} {
		require.Equal(t, c.want, relocate(c.location, prefix, "here:1"), c.location)
	}
}

func TestExtraKeysFitIntoHeaders(t *testing.T) {
	require.Equal(t, "authentication.kubernetes.io%2Fpod-name", escapeKey("authentication.kubernetes.io/pod-name"))
	require.Equal(t, "a%25%3A%C3%A4", escapeKey("a%:ä"))
}
