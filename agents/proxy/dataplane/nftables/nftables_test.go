package nftables_test

import (
	"context"
	"testing"

	"go.uber.org/zap"

	"karve.dev/karve/agents/proxy/dataplane"
	"karve.dev/karve/agents/proxy/dataplane/conformance"
	"karve.dev/karve/agents/proxy/dataplane/nftables"
)

func TestMain(m *testing.M) { conformance.Main(m) }

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Backend{
		Open: func(ctx context.Context, id dataplane.Identity, networks dataplane.Networks, log *zap.Logger) (dataplane.Dataplane, error) {
			return nftables.New(ctx, nftables.Config{Identity: id, Networks: networks, Logger: log})
		},
		Cleanup:          nftables.Cleanup,
		Objects:          conformance.Objects,
		LocalOnlyOutside: true,
	})
}
