package etcdstore

import (
	"testing"

	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/store/storetest"
)

func BenchmarkStore(b *testing.B) {
	storetest.Bench(b, func(b *testing.B) store.Store { return open(b, b.TempDir()) })
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		b.StartTimer()
		s := open(b, dir)
		b.StopTimer()
		s.Close()
		b.StartTimer()
	}
}
