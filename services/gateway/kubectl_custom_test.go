package gateway_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const crontabs = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: crontabs.stable.example.com
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.labelSelector}
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec, description: The cron spec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        description: A table of jobs.
        properties:
          spec:
            type: object
            description: What is run, and when.
            required: [cronSpec]
            x-kubernetes-validations: [{rule: "self.replicas <= self.maxReplicas", message: replicas must not exceed maxReplicas}]
            properties:
              cronSpec: {type: string, pattern: '^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$', description: When it runs.}
              image: {type: string}
              replicas: {type: integer, minimum: 1, default: 1}
              maxReplicas: {type: integer, default: 10}
          status:
            type: object
            properties: {replicas: {type: integer}, labelSelector: {type: string}}
`

const crontab = `
apiVersion: stable.example.com/v1
kind: CronTab
metadata: {name: nightly}
spec: {cronSpec: "* * * * */5", image: my-image}
`

func TestKubectlCustomResources(t *testing.T) {
	k := cluster(t).kubectl(t)
	require.Contains(t, k.run("create -f -", crontabs), "customresourcedefinition.apiextensions.k8s.io/crontabs.stable.example.com created")
	require.Contains(t, k.run("wait --for=condition=established --timeout=20s crd/crontabs.stable.example.com"), "condition met")
	require.Regexp(t, `crontabs.stable.example.com +Namespaced +v1\(storage\) +\d{4}-`, k.run("get crd"))
	require.Contains(t, k.run("describe crd crontabs.stable.example.com"), "InitialNamesAccepted")
	require.Regexp(t, `crontabs +ct +stable.example.com/v1 +true +CronTab`, k.run("api-resources"))

	require.Contains(t, k.run("apply -f -", crontab), "crontab.stable.example.com/nightly created")
	require.Contains(t, k.run("apply -f -", crontab), "crontab.stable.example.com/nightly unchanged")
	require.Contains(t, k.run("apply -f -", strings.Replace(crontab, "my-image", "new", 1)), "nightly configured")
	require.Regexp(t, `NAME +SPEC +REPLICAS +AGE\nnightly +\* \* \* \* \*/5 +1 +\d+`, k.run("get ct"))
	require.Contains(t, k.run("get all"), "crontab.stable.example.com/nightly")
	require.Contains(t, k.run("describe crontab nightly"), "Cron Spec:     * * * * */5")
	require.Contains(t, k.run(`patch ct nightly --type=merge -p {"spec":{"image":"other"}}`), "patched")
	require.Contains(t, k.fails(`patch ct nightly -p {"spec":{"image":"other"}}`), "strategic-merge-patch+json is not supported")
	require.Contains(t, k.run(`patch ct nightly --subresource=status --type=merge -p {"status":{"replicas":1}}`), "patched")
	require.Contains(t, k.run("scale ct nightly --replicas=3"), "scaled")
	require.Equal(t, "3 1 other", k.run("get ct nightly -o jsonpath={.spec.replicas}{'\\x20'}{.status.replicas}{'\\x20'}{.spec.image}"))

	require.Contains(t, k.fails("apply -f -", strings.Replace(crontab, "* * * * */5", "often", 1)), `spec.cronSpec: Invalid value: "often"`)
	require.Contains(t, k.fails("apply -f -", strings.Replace(crontab, "image:", "imago:", 1)), `unknown field "spec.imago"`)
	require.Contains(t, k.fails("scale ct nightly --replicas=30"), "replicas must not exceed maxReplicas")

	require.Contains(t, k.fails("diff -f -", strings.Replace(crontab, "my-image", "newer", 1)), "+  image: newer")
	require.Contains(t, k.run("apply --server-side --force-conflicts -f -", strings.Replace(crontab, "my-image", "mine", 1)), "serverside-applied")
	require.Contains(t, k.fails("apply --server-side --field-manager=other -f -", strings.Replace(crontab, "my-image", "theirs", 1)), "conflict with \"kubectl\": .spec.image")
	require.Contains(t, k.run("label ct nightly tier=x")+k.run("get ct -l tier=x -o name"), "crontab.stable.example.com/nightly")
	require.Equal(t, "yes\n", k.run("auth can-i list crontabs.stable.example.com"))

	require.Contains(t, k.run("explain crontab.spec"), "What is run, and when.")
	require.Contains(t, k.run("explain ct.spec.cronSpec"), "When it runs.")
	require.Contains(t, k.run("explain ct --recursive"), "maxReplicas")

	require.Contains(t, k.run("delete crd crontabs.stable.example.com"), "deleted")
	require.Eventually(t, func() bool {
		out, err := k.command("get --raw /apis/stable.example.com/v1").CombinedOutput()
		return err != nil && strings.Contains(string(out), "not find")
	}, 10*time.Second, 50*time.Millisecond)
	k.run("create -f -", crontabs)
	k.run("wait --for=condition=established --timeout=20s crd/crontabs.stable.example.com")
	require.Contains(t, k.run("get ct"), "No resources found")
}
