package managedfields_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/apitest"
)

// service is a whole API service and an administrator who applies ConfigMaps and Deployments.
type service struct {
	*apitest.Cluster
	t   *testing.T
	rpc apiv1.ResourceServiceClient
}

func newService(t *testing.T) *service {
	c := apitest.Start(t)
	return &service{c, t, apiv1.NewResourceServiceClient(c.Conn(apitest.Admin))}
}

type option func(*apiv1.PatchRequest)

func force(r *apiv1.PatchRequest)  { r.Force = true }
func dryRun(r *apiv1.PatchRequest) { r.Options.DryRun = true }
func strict(r *apiv1.PatchRequest) { r.Options.FieldValidation = "Strict" }
func part(name string) option      { return func(r *apiv1.PatchRequest) { r.Ref.Subresource = name } }

func (s *service) apply(manager, kind, name, patch string, options ...option) (*apiv1.Result, error) {
	version := "v1"
	if kind == "Deployment" {
		version = "apps/v1"
	}
	if !strings.Contains(patch, "apiVersion") {
		patch = fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s}\n%s\n", version, kind, name, patch)
	}
	req := &apiv1.PatchRequest{
		Ref:  &apiv1.ObjectRef{ApiVersion: version, Kind: kind, Namespace: "default", Name: name},
		Type: apiv1.PatchType_PATCH_TYPE_APPLY, Patch: []byte(patch), Options: &apiv1.WriteOptions{FieldManager: manager},
		As: &apiv1.Representation{Encoding: apiv1.Encoding_ENCODING_JSON},
	}
	for _, o := range options {
		o(req)
	}
	res, err := s.rpc.Patch(s.t.Context(), req)
	return res, apierr.FromGRPC(err)
}

func (s *service) configMap(res *apiv1.Result, err error) *corev1.ConfigMap {
	s.t.Helper()
	require.NoError(s.t, err)
	out := &corev1.ConfigMap{}
	require.NoError(s.t, json.Unmarshal(res.Object.Data, out))
	return out
}

func (s *service) get(name string) *corev1.ConfigMap {
	out := &corev1.ConfigMap{}
	require.NoError(s.t, s.Client(apitest.Admin).Get(s.t.Context(), out, "default", name))
	return out
}

func TestServiceApplies(t *testing.T) {
	s := newService(t)
	res, err := s.apply("one", "ConfigMap", "c", "data: {a: '1', b: '2'}", dryRun)
	require.True(t, s.configMap(res, err).Data["a"] == "1" && res.Created)
	require.True(t, apierrors.IsNotFound(s.Client(apitest.Admin).Get(t.Context(), &corev1.ConfigMap{}, "default", "c")), "a dry run makes nothing")

	res, err = s.apply("one", "ConfigMap", "c", "data: {a: '1', b: '2'}")
	made := s.configMap(res, err)
	require.True(t, res.Created)
	require.NotEmpty(t, made.UID)
	res, err = s.apply("one", "ConfigMap", "c", "data: {a: '1', b: '2'}")
	require.Equal(t, made.ResourceVersion, s.configMap(res, err).ResourceVersion, "the same again is no write")
	require.False(t, res.Created)

	_, err = s.apply("two", "ConfigMap", "c", "data: {a: '9'}")
	require.True(t, apierrors.IsConflict(err), "%v", err)
	require.Equal(t, metav1.CauseTypeFieldManagerConflict, err.(apierrors.APIStatus).Status().Details.Causes[0].Type)
	require.Equal(t, "9", s.configMap(s.apply("two", "ConfigMap", "c", "data: {a: '9'}", force, dryRun)).Data["a"])
	require.Equal(t, "1", s.get("c").Data["a"])
	s.configMap(s.apply("two", "ConfigMap", "c", "data: {a: '9'}", force))
	require.Equal(t, map[string]string{"a": "9"}, s.configMap(s.apply("one", "ConfigMap", "c", "")).Data)

	_, err = s.apply("one", "ConfigMap", "c", "data: {a: '1'}\nmetadata: {name: c, resourceVersion: '1'}\napiVersion: v1\nkind: ConfigMap", force)
	require.True(t, apierrors.IsConflict(err), "%v", err)
	require.ErrorContains(t, err, "the object has been modified")
}

func TestServiceRecordsOtherWrites(t *testing.T) {
	s := newService(t)
	managers := func(name string) (out []string) {
		for _, e := range s.get(name).ManagedFields {
			out = append(out, fmt.Sprintf("%s %s %s", e.Manager, e.Operation, e.FieldsV1.GetRawBytes()))
		}
		return out
	}
	create := func(user identity.User, name string) *corev1.ConfigMap {
		obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Data: map[string]string{"a": "1"}}
		require.NoError(t, s.Client(user).Create(t.Context(), obj))
		return obj
	}
	mine := create(apitest.Admin, "mine")
	require.Equal(t, []string{`test Update {"f:data":{".":{},"f:a":{}}}`}, managers("mine"))
	before := mine.ResourceVersion
	require.NoError(t, s.Client(apitest.Admin).Update(t.Context(), mine))
	require.Equal(t, before, s.get("mine").ResourceVersion, "an update that changes nothing is no write")

	create(identity.User{Name: identity.UserControllers, Groups: []string{identity.GroupMasters}}, "controller")
	require.Empty(t, managers("controller"), "the cluster's own parts own no configuration")
	patch := func(name, manager, body string) {
		_, err := s.rpc.Patch(t.Context(), &apiv1.PatchRequest{
			Ref: &apiv1.ObjectRef{ApiVersion: "v1", Kind: "ConfigMap", Namespace: "default", Name: name}, Type: apiv1.PatchType_PATCH_TYPE_MERGE,
			Patch: []byte(body), Options: &apiv1.WriteOptions{FieldManager: manager},
		})
		require.NoError(t, err)
	}
	patch("mine", "editor", `{"data":{"b":"2"}}`)
	require.Contains(t, managers("mine"), `editor Update {"f:data":{"f:b":{}}}`)
	patch("mine", "", `{"metadata":{"managedFields":[{}]}}`)
	require.Empty(t, managers("mine"))
	_, err := s.apply("one", "ConfigMap", "mine", "data: {a: '2'}")
	require.ErrorContains(t, err, `conflict with "before-first-apply" using v1`)
}

func TestServiceAppliesParts(t *testing.T) {
	s := newService(t)
	const body = `spec: {replicas: 3, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}`
	_, err := s.apply("kubectl", "Deployment", "d", body)
	require.NoError(t, err)
	res, err := s.apply("controller", "Deployment", "d", "status: {replicas: 2, readyReplicas: 2}", part("status"))
	require.NoError(t, err)
	require.Contains(t, string(res.Object.Data), `"readyReplicas":2`)
	require.Contains(t, string(res.Object.Data), `"manager":"controller","operation":"Apply"`)
	const scale = `{"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": %d}}`
	_, err = s.apply("hpa", "Deployment", "d", fmt.Sprintf(scale, 6), part("scale"))
	require.ErrorContains(t, err, `conflict with "kubectl": .spec.replicas`)
	res, err = s.apply("hpa", "Deployment", "d", fmt.Sprintf(scale, 6), part("scale"), force)
	require.NoError(t, err)
	require.Contains(t, string(res.Object.Data), `"replicas":6`)
	_, err = s.apply("kubectl", "Deployment", "d", body)
	require.ErrorContains(t, err, `conflict with "hpa" with subresource "scale"`)
	_, err = s.apply("kubectl", "Deployment", "d", strings.Replace(body, "replicas: 3, ", "", 1))
	require.NoError(t, err, "who leaves the replicas to the autoscaler gets along")

	_, err = s.apply("controller", "Deployment", "none", "status: {replicas: 2}", part("status"))
	require.True(t, apierrors.IsNotFound(err), "a status makes no object: %v", err)
}

func TestServiceRefusesToApply(t *testing.T) {
	s := newService(t)
	for name, c := range map[string]struct {
		manager, patch string
		options        []option
		code           int32
		text           string
	}{
		"no manager":    {"", "data: {}", nil, 422, "fieldManager: Required value"},
		"not YAML":      {"one", "apiVersion: [", nil, 400, "error decoding YAML"},
		"twice":         {"one", "data: {a: x}\ndata: {b: y}", []option{strict}, 400, "error strict decoding YAML"},
		"other name":    {"one", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"other"}}`, nil, 400, "does not match"},
		"no name":       {"one", `{"apiVersion":"v1","kind":"ConfigMap"}`, nil, 400, "does not match"},
		"uid":           {"one", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","uid":"u"}}`, nil, 409, "uid mismatch: the provided object specified uid u, and no existing object was found"},
		"namespace":     {"one", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"x"}}`, nil, 400, "does not match"},
		"unknown field": {"one", "dat: {}", nil, 500, "field not declared in schema"},
		"invalid":       {"one", "data: {'a b': x}", nil, 422, "data[a b]: Invalid value"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.apply(c.manager, "ConfigMap", "c", c.patch, c.options...)
			var status apierrors.APIStatus
			require.ErrorAs(t, err, &status)
			require.Equal(t, c.code, status.Status().Code, "%v", err)
			require.ErrorContains(t, err, c.text)
		})
	}
}

func TestServiceAppliesAtTheSameTime(t *testing.T) {
	s := newService(t)
	const writers, rounds = 6, 5
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n := range rounds {
				if _, err := s.apply(fmt.Sprint("m", i), "ConfigMap", "c", fmt.Sprintf("data: {k%d: '%d'}", i, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := s.get("c")
	require.Len(t, got.ManagedFields, writers)
	for i := range writers {
		require.Equal(t, fmt.Sprint(rounds-1), got.Data[fmt.Sprint("k", i)])
	}
}
