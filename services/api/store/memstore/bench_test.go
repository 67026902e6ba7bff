package memstore

import (
	"testing"

	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/store/storetest"
)

func BenchmarkStore(b *testing.B) {
	storetest.Bench(b, func(*testing.B) store.Store { return New() })
}
