package policy_test

import (
	"fmt"
	"testing"

	"karve.dev/karve/services/api/apitest"
)

// BenchmarkCreate tells what policies cost a write that they are about.
func BenchmarkCreate(b *testing.B) {
	for _, n := range []int{0, 1, 10} {
		b.Run(fmt.Sprint(n, " policies"), func(b *testing.B) {
			c := apitest.Start(b)
			cl := c.Client(apitest.Admin)
			for i := range n {
				for _, text := range []string{fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: p%d}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: ["*"], resources: [configmaps]}]}

  validations: [{expression: "size(object.data) < 100", messageExpression: "'no ' + string(size(object.data))"}]
`, i), fmt.Sprintf(`{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: p%d}, spec: {policyName: p%d, validationActions: [Deny]}}`, i, i)} {
					if err := cl.Create(b.Context(), decode(b, text)); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := cl.Create(b.Context(), configMap(fmt.Sprint("c", i), map[string]string{"a": "b"})); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
