package server

import (
	"testing"

	"github.com/stretchr/testify/require"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
)

func TestLogOptionsAreRefusedAsKubernetesRefusesThem(t *testing.T) {
	for want, req := range map[string]*agentv1.LogsRequest{
		"": {TailLines: new(int64(0)), LimitBytes: new(int64(1)), SinceSeconds: new(int64(1)), Stream: "All"},
		`tailLines: Invalid value: -1: must be greater than or equal to 0`:                                               {TailLines: new(int64(-1))},
		`[limitBytes: Invalid value: 0: must be greater than 0, sinceSeconds: Invalid value: 0: must be greater than 0]`: {LimitBytes: new(int64(0)), SinceSeconds: new(int64(0))},
		"[]: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified":                                   {SinceSeconds: new(int64(1)), SinceTime: "2030-01-01T00:00:00Z"},
		`stream: Unsupported value: "Both": supported values: "All", "Stderr", "Stdout"`:                                 {Stream: "Both"},
		"[]: Forbidden: `tailLines` and specific `stream` are mutually exclusive for now":                                {Stream: "Stderr", TailLines: new(int64(1))},
	} {
		err := validateLogs(req).ToAggregate()
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.EqualError(t, err, want)
	}
}
