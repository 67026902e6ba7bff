package policy

import (
	"context"
	"encoding/json"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/admission/expression"
	"karve.dev/karve/services/api/admission/match"
	"karve.dev/karve/services/api/authz"
	"karve.dev/karve/services/api/registry"
)

// lonely is a world with nothing but one namespace.
type lonely struct{ match.World }

func (lonely) Namespace(context.Context, string) (*corev1.Namespace, error) {
	return &corev1.Namespace{}, nil
}

// FuzzExpressions compiles and evaluates what somebody may write into a policy, about objects that somebody may send.
func FuzzExpressions(f *testing.F) {
	for _, seed := range []string{
		"object.data.a == 'b'", "object.data.all(k, object.data[k].matches('^(a+)+$'))", "authorizer.group('').resource('x').check('get').allowed()",
		"object.metadata.labels.exists(k, k.startsWith('x')) || oldObject == null", "quantity('1Gi').isGreaterThan(quantity('1Mi'))",
		`Object{data: {"a": object.data["b"]}}`, `[JSONPatch{op: "add", path: "/data/a", value: "x"}]`, `[JSONPatch{op: "copy", from: "/data", path: "/data/a"}]`,
		`Object{metadata: Object.metadata{labels: {"a": "b"}}}`, "request.userInfo.extra['x'].size() > 0", "variables.v + 1 > 2",
	} {
		f.Add(seed, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"d"},"data":{"a":"aaaaaaaaaaaaaaaa!","b":"c"}}`)
	}
	kind, _ := registry.Lookup(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	types := applyconfigurations.NewTypeConverter(scheme.Scheme)
	p := New(Config{
		World: lonely{}, Compiler: expression.NewCompiler(), Types: func(*registry.Kind) managedfields.TypeConverter { return types },
		Authorize: func(context.Context, authz.Attributes) (bool, string, error) { return true, "", nil },
	})
	f.Fuzz(func(t *testing.T, text, body string) {
		obj := &corev1.ConfigMap{}
		if len(text) > 2000 || json.Unmarshal([]byte(body), obj) != nil {
			t.Skip()
		}
		obj.APIVersion, obj.Kind = "", ""
		a := &admission.Attributes{Operation: admission.Create, Kind: kind, Namespace: "d", Name: obj.Name, Object: obj, User: identity.User{Name: "u"}}
		v := p.validator(&admissionregistrationv1.ValidatingAdmissionPolicy{Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			Variables: []admissionregistrationv1.Variable{{Name: "v", Expression: text}}, Validations: []admissionregistrationv1.Validation{{Expression: text, MessageExpression: text}},
			AuditAnnotations: []admissionregistrationv1.AuditAnnotation{{Key: "k", ValueExpression: text}}, MatchConditions: []admissionregistrationv1.MatchCondition{{Name: "c", Expression: text}},
		}})
		p.checkValidating(&v.Spec)
		s := p.subject(a)
		in, err := s.input(kind)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = v.judge(t.Context(), s, in, nil)
		for _, mutation := range []admissionregistrationv1.Mutation{
			{PatchType: admissionregistrationv1.PatchTypeApplyConfiguration, ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{Expression: text}},
			{PatchType: admissionregistrationv1.PatchTypeJSONPatch, JSONPatch: &admissionregistrationv1.JSONPatch{Expression: text}},
		} {
			m := p.mutator(&admissionregistrationv1.MutatingAdmissionPolicy{Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{Mutations: []admissionregistrationv1.Mutation{mutation}}})
			_, _ = m.edit(t.Context(), p.subject(a), kind, nil)
		}
	})
}
