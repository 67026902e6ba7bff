package authz

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A binding to a role that does not exist is a common mistake: the refusal names the role.
func TestRefusalNamesMissingRoles(t *testing.T) {
	a := bootstrapped(t, bound("team", "Role", "reder", "user:jane"), bound("", "ClusterRole", "none", "user:jane"))
	_, reason, err := a.Authorize(t.Context(), request(user("jane"), "list", "", "pods", "team", ""))
	require.NoError(t, err)
	require.Equal(t, `rbac: RBAC: [clusterrole.rbac.authorization.k8s.io "none" not found, role.rbac.authorization.k8s.io "reder" not found]`, reason)
	_, reason, err = a.Authorize(t.Context(), request(user("joe"), "list", "", "pods", "team", ""))
	require.NoError(t, err)
	require.Empty(t, reason)
}
