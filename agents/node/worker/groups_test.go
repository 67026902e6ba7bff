package worker

import (
	"testing"

	"github.com/moby/sys/user"
	"github.com/stretchr/testify/require"
)

func TestAccountsOfAnImage(t *testing.T) {
	a := accounts{
		users:  []user.User{{Name: "root"}, {Name: "app", Uid: 1000, Gid: 50}},
		groups: []user.Group{{Name: "wheel", Gid: 10, List: []string{"root", "app"}}, {Name: "web", Gid: 33, List: []string{"app"}}},
	}
	for _, c := range []struct {
		name, with string
		in         []string
	}{
		{"app", "1000:50", []string{"10", "33"}},
		{"1000", "1000:50", []string{"10", "33"}},
		{"", "0:0", []string{"10"}},
		{"7", "7:0", nil},
		{"nobody", "nobody", nil}, // never root by mistake
	} {
		require.Equal(t, c.with, a.withGroup(c.name), c.name)
		require.Equal(t, c.in, a.memberships(c.name), c.name)
	}
}
