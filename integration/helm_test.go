package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

// TestHelm takes a chart with a CRD and hooks through a release's life.
func TestHelm(t *testing.T) {
	root := cluster.Root(t)
	tools := filepath.Join(root, ".tools", "bin")
	if _, err := os.Stat(filepath.Join(tools, "helm")); err != nil {
		t.Fatal("helm is missing: run scripts/setup.sh test first")
	}
	t.Setenv("PATH", tools+":"+os.Getenv("PATH"))
	c := cluster.Start(t)
	s := c.Shell(t, "shop", nil)
	chart := filepath.Join(root, "integration", "testdata", "chart")
	helm := "KUBECONFIG=.kubeconfig helm "
	s.Do(
		cluster.Step{Run: helm + "lint " + chart, Want: "~1 chart\\(s\\) linted, 0 chart\\(s\\) failed"},
		cluster.Step{Run: helm + "install a " + chart + " --wait --timeout 60s", Want: "~STATUS: deployed\nREVISION: 1\n"},
		cluster.Step{Run: "kubectl get baskets -o jsonpath='{.items[0].spec.items}'", Want: "1"},
		cluster.Step{Run: "kubectl logs job/a-before", Want: "before first"},
		cluster.Step{Run: helm + "test a", Want: "~Phase: +Succeeded"},
		cluster.Step{Run: helm + "upgrade a " + chart + " --set text=second,replicas=2 --wait --timeout 60s", Want: "~has been upgraded.*REVISION: 2\n"},
		cluster.Step{Run: "kubectl get cm a-text -o jsonpath='{.data.text} {.data.version}'", Want: "second 37"},
		cluster.Step{Run: "kubectl get deploy a -o jsonpath='{.status.availableReplicas}'; kubectl logs job/a-before", Want: "2before second"},
		cluster.Step{Run: helm + "upgrade a " + chart + " --set replicas=-1 --wait --timeout 60s", Want: "~Error: UPGRADE FAILED: .*must be greater than or equal to 0", Fails: true},
		cluster.Step{Run: helm + "rollback a 1 --wait --timeout 60s", Want: "Rollback was a success! Happy Helming!"},
		cluster.Step{Run: "kubectl get cm a-text -o jsonpath='{.data.text}'", Want: "first"},
		cluster.Step{Run: helm + "history a --max 10 | cut -f3 | tr -d ' \n'", Want: "STATUSsupersededsupersededfaileddeployed"},
		cluster.Step{Run: helm + "list", Want: "~^NAME.*\na +\tshop +\t4 +\t.*\tdeployed\tshop-0.1.0\t1 "},
		cluster.Step{Run: helm + "get manifest a | kubectl get -f - -o name | sort | tr '\n' ' '", Want: "basket.shop.example.com/a configmap/a-text deployment.apps/a service/a "},
		cluster.Step{Run: helm + "uninstall a --wait --timeout 60s", Want: "release \"a\" uninstalled"},
		cluster.Step{Run: "kubectl get crd baskets.shop.example.com -o name", Want: "customresourcedefinition.apiextensions.k8s.io/baskets.shop.example.com"},
	)
	// Jobs of hooks stay when no policy deletes them; the one that runs after a deletion goes when it succeeds.
	out, err := s.Try("kubectl get deploy,svc,baskets,jobs -o name")
	require.NoError(t, err, out)
	require.Equal(t, "job.batch/a-before\n", out)
}
