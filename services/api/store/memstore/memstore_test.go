package memstore

import (
	"testing"

	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return New() })
}
