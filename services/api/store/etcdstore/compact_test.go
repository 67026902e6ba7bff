package etcdstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/services/api/store"
)

func TestHistoryIsKeptForAWhileAndWithinBounds(t *testing.T) {
	start := time.Now()
	for _, test := range []struct {
		name string
		step int64 // revisions a minute
		want []int64
	}{
		{"idle", 0, []int64{0, 0, 0, 0, 0, 0, 0, 0}},
		{"few", 10, []int64{0, 0, 0, 0, 0, 0, 0, 0}},
		{"steady", 200, []int64{0, 0, 0, 0, 0, 200, 400, 600}},
		{"many", 2_000, []int64{0, 0, 1_000, 3_000, 5_000, 7_000, 9_000, 11_000}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := &history{keep: 5 * time.Minute, min: 500, max: 5_000, worth: 100}
			var got []int64
			for minute := range 8 {
				got = append(got, h.next(start.Add(time.Duration(minute)*time.Minute), int64(minute+1)*test.step))
			}
			require.Equal(t, test.want[:len(got)], got)
		})
	}
}

func TestOldRevisionsGo(t *testing.T) {
	s := open(t, t.TempDir())
	for i := range 20 {
		_, err := s.Commit(t.Context(), store.Op{Key: "/registry/c/a", Value: []byte{byte(i)}, Expected: -1})
		require.NoError(t, err)
	}
	h := &history{keep: time.Nanosecond, min: 5, max: 100, worth: 1}
	s.compactOnce(h)
	s.compactOnce(h) // the first look has no past to compare with
	newest, err := s.Revision(t.Context())
	require.NoError(t, err)
	_, _, err = s.List(t.Context(), "/registry/", store.ListOptions{Revision: newest - 6})
	require.ErrorIs(t, err, store.ErrCompacted)
	_, _, err = s.List(t.Context(), "/registry/", store.ListOptions{Revision: newest - 5})
	require.NoError(t, err)
}
