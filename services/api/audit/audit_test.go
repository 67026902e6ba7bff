package audit_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/audit"
)

const policy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
omitStages: [RequestReceived]
rules:
- level: None
  users: ["system:kube-scheduler"]
- level: Metadata
  resources: [{group: "", resources: [secrets, "serviceaccounts/token"]}]
- level: Request
  resources: [{group: "", resources: [services]}]
- level: RequestResponse
  namespaces: [loud]
  resources: [{group: "", resources: [configmaps]}]
- level: None
  nonResourceURLs: ["/version*"]
- level: Metadata
  omitStages: [ResponseStarted]
  verbs: [watch]
- level: Metadata
`

type world struct {
	*testing.T
	api  *apitest.Cluster
	path string
}

func start(t *testing.T) *world {
	dir := t.TempDir()
	w := &world{T: t, path: filepath.Join(dir, "log", "audit.log")}
	file := filepath.Join(dir, "policy.yaml")
	require.NoError(t, os.WriteFile(file, []byte(policy), 0o600))
	w.api = apitest.Start(t, func(c *api.Config) { c.Audit = &audit.Config{PolicyFile: file, Path: w.path} })
	return w
}

// events are the records that keep accepts, as soon as there are n.
func (w *world) events(n int, keep func(auditv1.Event) bool) []auditv1.Event {
	w.Helper()
	var out []auditv1.Event
	require.Eventually(w, func() bool {
		out = nil
		raw, _ := os.ReadFile(w.path)
		for lines := bufio.NewScanner(bytes.NewReader(raw)); lines.Scan(); {
			var e auditv1.Event
			require.NoError(w, json.Unmarshal(lines.Bytes(), &e), lines.Text())
			if keep(e) {
				out = append(out, e)
			}
		}
		return len(out) >= n
	}, 5*time.Second, 5*time.Millisecond)
	return out
}

func about(name string) func(auditv1.Event) bool {
	return func(e auditv1.Event) bool { return e.ObjectRef != nil && e.ObjectRef.Name == name }
}

func TestASecretIsRecordedWithoutItsData(t *testing.T) {
	w := start(t)
	admin := w.api.Client(apitest.Admin)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "key"}, StringData: map[string]string{"password": "swordfish"}}
	require.NoError(t, admin.Create(t.Context(), secret))
	require.NoError(t, admin.Get(t.Context(), secret, "default", "key"))
	got := w.events(2, about("key"))
	created, read := got[0], got[1]
	require.Equal(t, auditv1.Level("Metadata"), created.Level)
	require.Equal(t, auditv1.Stage("ResponseComplete"), created.Stage)
	require.Equal(t, "create", created.Verb)
	require.Equal(t, "/api/v1/namespaces/default/secrets", created.RequestURI)
	require.EqualValues(t, 201, created.ResponseStatus.Code)
	require.Equal(t, "kubernetes-admin", created.User.Username)
	require.Equal(t, map[string]string{"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""}, created.Annotations)
	require.NotEmpty(t, created.AuditID)
	require.NotEqual(t, created.AuditID, read.AuditID)
	require.EqualValues(t, 200, read.ResponseStatus.Code)
	raw, err := os.ReadFile(w.path)
	require.NoError(t, err)
	require.NotContains(t, string(raw), "swordfish")
	require.NotContains(t, string(raw), "c3dvcmRmaXNo")
	info, err := os.Stat(w.path)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
}

func TestLevelsDecideAboutObjects(t *testing.T) {
	w := start(t)
	w.api.Namespace("loud")
	admin := w.api.Client(apitest.Admin)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "loud", Name: "motd"}, Data: map[string]string{"a": "b"}}
	require.NoError(t, admin.Create(t.Context(), cm))
	require.NoError(t, admin.List(t.Context(), &corev1.ConfigMapList{}, client.ListOptions{Namespace: "loud"}))
	require.NoError(t, admin.Delete(t.Context(), cm, client.DeleteOptions{UID: cm.UID}))
	got := w.events(3, func(e auditv1.Event) bool {
		return e.Level == auditv1.LevelRequestResponse && e.User.Username == apitest.Admin.Name
	})
	var sent, stored corev1.ConfigMap
	require.NoError(t, json.Unmarshal(got[0].RequestObject.Raw, &sent))
	require.NoError(t, json.Unmarshal(got[0].ResponseObject.Raw, &stored))
	require.Equal(t, "b", sent.Data["a"])
	require.Empty(t, sent.UID)
	require.Equal(t, cm.UID, stored.UID)
	require.Empty(t, stored.ManagedFields)
	require.Contains(t, string(got[1].ResponseObject.Raw), `"kind":"ConfigMapList"`)
	require.NotContains(t, string(got[1].ResponseObject.Raw), "managedFields")
	require.Nil(t, got[1].RequestObject)
	require.Contains(t, string(got[2].RequestObject.Raw), `"preconditions":{"uid":"`+string(cm.UID))

	// A refusal says why; of the answer nothing is recorded at this level.
	err := admin.Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "Bad"}})
	require.Error(t, err)
	bad := w.events(1, about("Bad"))[0]
	require.EqualValues(t, 422, bad.ResponseStatus.Code)
	require.Equal(t, metav1.StatusReasonInvalid, bad.ResponseStatus.Reason)
	require.NotNil(t, bad.RequestObject)
	require.Nil(t, bad.ResponseObject)
}

func TestWhoCallsAndWhy(t *testing.T) {
	w := start(t)
	admin := w.api.Client(apitest.Admin)
	require.NoError(t, admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "viewers"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:node-proxier"},
		Subjects: []rbacv1.Subject{{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "team"}},
	}))
	// As the gateway would call for an administrator who takes somebody else's place.
	ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs("x-remote-user", "root", "x-remote-group", "system:masters",
		"impersonate-user", "jane", "impersonate-group", "team", "audit-id", "mine", "x-audit-uri", "/api/v1/services?limit=500", "x-audit-agent", "kubectl/v1", "x-audit-source", "192.0.2.7"))
	gateway := w.api.Client(identity.User{Name: identity.UserGateway})
	require.Eventually(t, func() bool { return gateway.List(ctx, &corev1.ServiceList{}, client.ListOptions{}) == nil }, 5*time.Second, 5*time.Millisecond)
	got := w.events(1, func(e auditv1.Event) bool { return e.AuditID == "mine" && e.ResponseStatus.Code == 200 })[0]
	require.Equal(t, "root", got.User.Username)
	require.Equal(t, "jane", got.ImpersonatedUser.Username)
	require.Equal(t, "/api/v1/services?limit=500", got.RequestURI)
	require.Equal(t, "kubectl/v1", got.UserAgent)
	require.Equal(t, []string{"192.0.2.7"}, got.SourceIPs)
	require.Equal(t, `RBAC: allowed by ClusterRoleBinding "viewers" of ClusterRole "system:node-proxier" to Group "team"`, got.Annotations["authorization.k8s.io/reason"])

	ctx = metadata.NewOutgoingContext(t.Context(), metadata.Pairs("x-remote-user", "root", "x-remote-group", "system:masters", "impersonate-user", "root", "impersonate-group", "team", "audit-id", "less"))
	require.NoError(t, gateway.List(ctx, &corev1.ServiceList{}, client.ListOptions{}))
	got = w.events(1, func(e auditv1.Event) bool { return e.AuditID == "less" })[0]
	require.Contains(t, got.ImpersonatedUser.Groups, "team", "also who stays himself is told apart by his groups")

	// Nobody but the gateway may say so.
	ctx = metadata.NewOutgoingContext(t.Context(), metadata.Pairs("x-audit-uri", "/lies", "audit-id", "other"))
	require.Error(t, w.api.Client(identity.User{Name: "jane"}).Get(ctx, &corev1.Secret{}, "default", "none"))
	got = w.events(1, func(e auditv1.Event) bool { return e.AuditID == "other" })[0]
	require.Equal(t, "/api/v1/namespaces/default/secrets/none", got.RequestURI)
	require.EqualValues(t, 403, got.ResponseStatus.Code)
	require.Equal(t, "forbid", got.Annotations["authorization.k8s.io/decision"])

	ctx = metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", "Bearer nonsense", "audit-id", "bad"))
	require.Error(t, admin.Get(ctx, &corev1.Secret{}, "default", "none"))
	got = w.events(1, func(e auditv1.Event) bool { return e.AuditID == "bad" })[0]
	require.EqualValues(t, 401, got.ResponseStatus.Code)
	require.Empty(t, got.User.Username)

	require.NoError(t, w.api.Client(identity.User{Name: identity.UserScheduler}).List(t.Context(), &corev1.NodeList{}, client.ListOptions{}))
	require.NoError(t, admin.Get(t.Context(), &corev1.Namespace{}, "", "default"))
	all := w.events(1, func(e auditv1.Event) bool {
		return e.Verb == "get" && e.ObjectRef != nil && e.ObjectRef.Resource == "namespaces"
	})
	require.NotEmpty(t, all)
	require.Empty(t, w.events(0, func(e auditv1.Event) bool { return e.User.Username == identity.UserScheduler }))
}

func TestAWatchIsRecordedWhenItEnds(t *testing.T) {
	w := start(t)
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), "audit-id", "watching"))
	defer cancel()
	watcher, err := w.api.Client(apitest.Admin).Watch(ctx, &corev1.Secret{}, client.ListOptions{}, "")
	require.NoError(t, err)
	_, err = watcher.Next()
	require.NoError(t, err)
	is := func(e auditv1.Event) bool { return e.AuditID == "watching" }
	require.Equal(t, auditv1.Stage("ResponseStarted"), w.events(1, is)[0].Stage)
	cancel()
	both := w.events(2, is)
	require.Equal(t, auditv1.Stage("ResponseComplete"), both[1].Stage)
	require.True(t, slices.IsSortedFunc(both, func(a, b auditv1.Event) int { return a.StageTimestamp.Compare(b.StageTimestamp.Time) }))
}

func TestStreamsOfNodesAreRecordedByTheirMethod(t *testing.T) {
	w := start(t)
	node := identity.User{Name: "system:node:n", Groups: []string{identity.GroupNodes}}
	require.NoError(t, w.api.Client(node).Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := nodev1.NewAssignmentServiceClient(w.api.Conn(node)).Stream(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&nodev1.StreamRequest{Message: &nodev1.StreamRequest_Hello{Hello: &nodev1.Hello{Node: "n", Scope: nodev1.Scope_SCOPE_PODS}}}))
	_, err = stream.Recv()
	require.NoError(t, err)
	got := w.events(1, func(e auditv1.Event) bool { return e.RequestURI == nodev1.AssignmentService_Stream_FullMethodName })[0]
	require.Equal(t, auditv1.Stage("ResponseStarted"), got.Stage)
	require.Equal(t, auditv1.Level("Metadata"), got.Level)
	require.Equal(t, "system:node:n", got.User.Username)
	require.Equal(t, "post", got.Verb)
}

func TestAPolicyThatMakesNoSenseIsRefused(t *testing.T) {
	dir := t.TempDir()
	for what, text := range map[string]string{
		"no rules":      "apiVersion: audit.k8s.io/v1\nkind: Policy\n",
		"no such level": "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: All}]\n",
		"another kind":  "apiVersion: v1\nkind: Pod\n",
	} {
		file := filepath.Join(dir, "policy")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := audit.New(audit.Config{PolicyFile: file, Path: filepath.Join(dir, "log")})
		require.Error(t, err, what)
	}
}

func BenchmarkGet(b *testing.B) {
	file := filepath.Join(b.TempDir(), "policy.yaml")
	require.NoError(b, os.WriteFile(file, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n"), 0o600))
	for name, config := range map[string]*audit.Config{"not recorded": nil, "recorded": {PolicyFile: file, Path: filepath.Join(b.TempDir(), "log")}} {
		b.Run(name, func(b *testing.B) {
			admin := apitest.Start(b, func(c *api.Config) { c.Audit = config }).Client(apitest.Admin)
			b.ReportAllocs()
			for b.Loop() {
				if err := admin.Get(b.Context(), &corev1.Namespace{}, "", "default"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
