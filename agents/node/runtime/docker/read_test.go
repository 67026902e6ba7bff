package docker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhereLinksLead(t *testing.T) {
	require.Equal(t, "/usr/share/passwd", target("/etc/passwd", "../usr/share/passwd"))
	require.Equal(t, "/etc/passwd.real", target("/etc/passwd", "passwd.real"))
	require.Equal(t, "/nix/store/passwd", target("/etc/passwd", "/nix/store/passwd"))
	require.Equal(t, "/passwd", target("/etc/passwd", "../../../passwd"), "nothing is above the image")
}
