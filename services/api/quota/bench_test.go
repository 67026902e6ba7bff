package quota_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/store/etcdstore"
)

// BenchmarkCreatePods compares creates in a namespace with a quota to those in one without, on a disk.
func BenchmarkCreatePods(b *testing.B) {
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprintf("quota=%v", with), func(b *testing.B) {
			s, err := etcdstore.Open(b.Context(), etcdstore.Config{DataDir: b.TempDir()})
			require.NoError(b, err)
			b.Cleanup(func() { _ = s.Close() })
			c := apitest.Start(b, func(c *api.Config) { c.Store = s }).Client(apitest.Admin)
			if with {
				require.NoError(b, c.Create(b.Context(), newQuota("q", hard("pods", "1000000", "requests.cpu", "1000000"), nil)))
			}
			var n atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(16)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := c.Create(b.Context(), newPod(fmt.Sprintf("p-%d", n.Add(1)), hard("cpu", "100m"), nil)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
