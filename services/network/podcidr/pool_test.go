package podcidr

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func newTestPool(t *testing.T, cluster string, bits int) *pool {
	t.Helper()
	p, err := newPool(netip.MustParsePrefix(cluster), bits)
	require.NoError(t, err)
	return p
}

func TestEachNodeGetsABlockOfItsOwnUntilNoneIsLeft(t *testing.T) {
	p := newTestPool(t, "10.244.0.0/16", 24)
	given := map[netip.Prefix]bool{}
	for n := range 256 {
		block, err := p.take(fmt.Sprint("node-", n))
		require.NoError(t, err)
		given[block] = true
	}
	require.Len(t, given, 256)
	require.True(t, given[netip.MustParsePrefix("10.244.0.0/24")])
	require.True(t, given[netip.MustParsePrefix("10.244.255.0/24")])
	_, err := p.take("late")
	require.ErrorIs(t, err, errFull)
	again, err := p.take("node-7")
	require.NoError(t, err)
	require.Equal(t, "10.244.7.0/24", again.String())
	require.True(t, p.release("node-7"))
	require.False(t, p.release("node-7"))
	block, err := p.take("late")
	require.NoError(t, err)
	require.Equal(t, again, block)
}

func TestRangesThatOthersGaveOutAreTaken(t *testing.T) {
	p := newTestPool(t, "10.244.0.0/16", 24)
	require.Empty(t, p.occupy("wide", netip.MustParsePrefix("10.244.0.0/22")))
	require.Empty(t, p.occupy("narrow", netip.MustParsePrefix("10.244.4.128/25")))
	require.Empty(t, p.occupy("outside", netip.MustParsePrefix("192.168.0.0/24")))
	require.Equal(t, "narrow", p.occupy("twice", netip.MustParsePrefix("10.244.4.0/24")))
	block, err := p.take("new")
	require.NoError(t, err)
	require.Equal(t, "10.244.5.0/24", block.String())
	p.release("narrow")
	require.NotEmpty(t, p.owners[4], "the other node still has it")
	p.occupy("all", netip.MustParsePrefix("10.0.0.0/8"))
	_, err = p.take("none")
	require.ErrorIs(t, err, errFull)
}

func TestOtherRanges(t *testing.T) {
	p := newTestPool(t, "fd00:10:244::/48", 64)
	block, err := p.take("a")
	require.NoError(t, err)
	require.Equal(t, "fd00:10:244::/64", block.String())
	p.occupy("b", netip.MustParsePrefix("fd00:10:244:1::/64"))
	block, err = p.take("c")
	require.NoError(t, err)
	require.Equal(t, "fd00:10:244:2::/64", block.String())
	one := newTestPool(t, "10.0.0.0/24", 24)
	block, err = one.take("a")
	require.NoError(t, err)
	require.Equal(t, "10.0.0.0/24", block.String())
	require.Equal(t, 1<<maxBlockBits, newTestPool(t, "fd00::/8", 64).blocks)
	for cluster, bits := range map[string]int{"10.0.0.0/24": 23, "10.0.0.0/16": 31, "fd00::/48": 80} {
		_, err := newPool(netip.MustParsePrefix(cluster), bits)
		require.Error(t, err)
	}
	_, err = newPool(netip.Prefix{}, 24)
	require.Error(t, err)
}
