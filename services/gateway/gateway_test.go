package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/gateway"
)

// world is a gateway in front of a fake API.
type world struct {
	api  *fakeAPI
	keys *pki
	url  string
	http *http.Client
}

func newWorld(t testing.TB, change ...func(*gateway.Config)) *world {
	t.Helper()
	w := &world{api: newFakeAPI(), keys: newPKI(t)}
	server := transport.NewServer(nil, nil)
	w.api.register(server)
	w.url = serve(t, server, w.keys, change...)
	w.http = w.keys.httpClient(t, true, true)
	return w
}

// do sends a request and returns the answer with its body read. Headers are "Name: value".
func (w *world) do(t testing.TB, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	require.NoError(t, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	res, err := w.http.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(data)
}

const podPath = "/api/v1/namespaces/default/pods/web"

func TestGetInEveryEncoding(t *testing.T) {
	w := newWorld(t)
	res, body := w.do(t, "GET", podPath, "")
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, "HTTP/2.0", res.Proto)
	require.Equal(t, "application/json", res.Header.Get("Content-Type"))
	require.Equal(t, string(w.api.json)+"\n", body)
	require.Equal(t, "no-cache, private", res.Header.Get("Cache-Control"))
	require.Equal(t, `299 - "a \"warning\""`, res.Header.Get("Warning"))
	require.Len(t, res.Header.Get("Audit-Id"), 36)

	_, body = w.do(t, "GET", podPath, "", "Accept: application/yaml")
	require.Contains(t, body, "name: web\n")

	res, body = w.do(t, "GET", podPath, "", "Accept: application/vnd.kubernetes.protobuf, application/json;q=0.5")
	require.Equal(t, "application/vnd.kubernetes.protobuf", res.Header.Get("Content-Type"))
	require.Equal(t, "k8s\x00", body[:4])
	var unknown runtime.Unknown
	require.NoError(t, unknown.Unmarshal([]byte(body[4:])))
	require.Equal(t, "Pod", unknown.Kind)
	require.Equal(t, w.api.raw, unknown.Raw)

	_, body = w.do(t, "GET", podPath, "", "User-Agent: curl/7.88.1")
	require.Contains(t, body, "\n  \"kind\": \"Pod\"")

	res, _ = w.do(t, "GET", podPath, "", "Accept: text/html")
	require.Equal(t, 406, res.StatusCode)
}

func TestErrorsAreStatuses(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		method, path, contentType string
		code                      int
		message                   string
	}{
		{"GET", "/api/v1/namespaces/default/pods/nobody", "", 404, `pods "nobody" not found`},
		{"POST", podPath, "application/json", 405, "the server does not allow this method on the requested resource"},
		{"PATCH", podPath, "application/json", 415, "the body of the request was in an unknown format"},
		{"PUT", podPath, "text/plain", 415, "the body of the request was in an unknown format"},
		{"DELETE", podPath + "?propagationPolicy=Sometimes", "application/json", 422, "propagationPolicy"},
		{"PATCH", podPath + "?dryRun=Maybe", "application/merge-patch+json", 422, `dryRun: Unsupported value: ["Maybe"]: supported values: "All"`},
		{"GET", "/api/v1/pods?limit=many", "", 400, "invalid syntax"},
		{"GET", "/secret", "", 403, "forbidden"},
		{"POST", "/version", "", 405, "does not allow this method"},
	} {
		sent := "{}"
		if c.method == "DELETE" {
			sent = ""
		}
		res, body := w.do(t, c.method, c.path, sent, "Content-Type: "+c.contentType)
		require.Equal(t, c.code, res.StatusCode, "%s %s: %s", c.method, c.path, body)
		var st metav1.Status
		require.NoError(t, json.Unmarshal([]byte(body), &st), body)
		require.Equal(t, "Status", st.Kind)
		require.EqualValues(t, c.code, st.Code)
		require.Contains(t, st.Message, c.message)
	}
	for _, path := range []string{"/api/v1/nothing", "/api/v2", "/apis/apps/v1/namespaces/default/deployments/x/nothing"} {
		res, body := w.do(t, "GET", path, "")
		require.Equal(t, 404, res.StatusCode, path)
		require.Contains(t, body, `"message":"the server could not find the requested resource","reason":"NotFound"`)
	}
	for _, path := range []string{"/nothing", "/apis/no.group/v1/things", "/version/x"} {
		res, body := w.do(t, "GET", path, "")
		require.Equal(t, 404, res.StatusCode, path)
		require.Equal(t, "404 page not found\n", body)
	}
	res, _ := w.do(t, "POST", "/api/v1/namespaces/default/pods", strings.Repeat(" ", 3<<20+1), "Content-Type: application/json")
	require.Equal(t, 413, res.StatusCode)
}

func TestQueryAndBodyReachTheAPI(t *testing.T) {
	w := newWorld(t)
	seen := func() any { m, _ := w.api.seen(); return m }

	w.do(t, "GET", "/api/v1/namespaces/default/pods?labelSelector=a%3Db&fieldSelector=spec.nodeName%3Dn&limit=5&continue=c&resourceVersion=3&resourceVersionMatch=Exact", "",
		"Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
	list := seen().(*apiv1.ListRequest)
	require.Equal(t, "a=b spec.nodeName=n 5 c 3 Exact", strings.Join([]string{list.LabelSelector, list.FieldSelector, "5", list.Continue, list.ResourceVersion, list.ResourceVersionMatch}, " "))
	require.EqualValues(t, 5, list.Limit)
	require.Equal(t, apiv1.Form_FORM_TABLE, list.As.Form)
	require.Equal(t, "default", list.Ref.Namespace)

	res, _ := w.do(t, "POST", "/api/v1/namespaces/default/pods?dryRun=All&fieldManager=me&fieldValidation=Strict", "kind: Pod\nmetadata: {name: web}\n", "Content-Type: application/yaml")
	require.Equal(t, 201, res.StatusCode)
	create := seen().(*apiv1.CreateRequest)
	require.JSONEq(t, `{"kind":"Pod","metadata":{"name":"web"}}`, string(create.Object.Data))
	require.True(t, create.Options.DryRun)
	require.Equal(t, "me Strict", create.Options.FieldManager+" "+create.Options.FieldValidation)

	w.do(t, "POST", podPath+"/eviction", "{}", "Content-Type: application/json")
	eviction := seen().(*apiv1.CreateRequest)
	require.Equal(t, "web/eviction policy/v1 Eviction", eviction.Ref.Name+"/"+eviction.Ref.Subresource+" "+eviction.Object.ApiVersion+" "+eviction.Object.Kind)

	w.do(t, "PATCH", podPath+"/status?force=true&fieldManager=me", "a: 1", "Content-Type: application/apply-patch+yaml")
	patch := seen().(*apiv1.PatchRequest)
	require.Equal(t, apiv1.PatchType_PATCH_TYPE_APPLY, patch.Type)
	require.True(t, patch.Force)
	require.Equal(t, "status", patch.Ref.Subresource)

	w.do(t, "DELETE", podPath, `{"kind":"DeleteOptions","gracePeriodSeconds":0,"propagationPolicy":"Foreground","preconditions":{"uid":"u"}}`, "Content-Type: application/json")
	del := seen().(*apiv1.DeleteRequest)
	require.EqualValues(t, 0, del.Options.GetGracePeriodSeconds())
	require.NotNil(t, del.Options.GracePeriodSeconds)
	require.Equal(t, "Foreground u", del.Options.PropagationPolicy+" "+del.Options.PreconditionUid)

	w.do(t, "DELETE", "/api/v1/namespaces/default/pods?labelSelector=x&gracePeriodSeconds=3", "")
	collection := seen().(*apiv1.DeleteCollectionRequest)
	require.Equal(t, "x", collection.LabelSelector)
	require.EqualValues(t, 3, collection.Options.GetGracePeriodSeconds())
}

func TestCredentialsAreForwardedAndNeverForged(t *testing.T) {
	w := newWorld(t)
	w.do(t, "GET", podPath, "", "X-Remote-User: evil", "X-Remote-Group: system:masters", "Impersonate-User: jane", "Impersonate-Extra-Scopes: a")
	_, md := w.api.seen()
	require.Equal(t, []string{"kubernetes-admin"}, md["x-remote-user"])
	require.Equal(t, []string{"system:masters"}, md["x-remote-group"])
	require.Equal(t, []string{"jane"}, md["impersonate-user"])
	require.Equal(t, []string{"a"}, md["impersonate-extra-scopes"])

	w.http = w.keys.httpClient(t, false, false)
	w.do(t, "GET", podPath, "", "Authorization: Bearer abc", "X-Remote-User: evil")
	_, md = w.api.seen()
	require.Equal(t, []string{"Bearer abc"}, md["authorization"])
	require.Empty(t, md["x-remote-user"])

	stranger := newPKI(t)
	stranger.roots = w.keys.roots
	w.http = stranger.httpClient(t, true, false)
	res, body := w.do(t, "GET", podPath, "")
	require.Equal(t, 401, res.StatusCode, body)
}

func TestWatchFramesEventsAsTheyCome(t *testing.T) {
	w := newWorld(t)
	req, _ := http.NewRequest("GET", w.url+"/api/v1/pods?watch=true", nil)
	res, err := w.http.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	w.api.events <- &apiv1.WatchEvent{Type: apiv1.WatchEvent_TYPE_ADDED}
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, `{"type":"ADDED","object":`+string(w.api.json)+"}\n", line)
	close(w.api.events)
	line, err = lines.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, `{"type":"ERROR","object":{"kind":"Status"`)
	require.Contains(t, line, `"code":410`)
	_, err = lines.ReadString('\n')
	require.ErrorIs(t, err, io.EOF)

	resp, _ := w.do(t, "GET", "/api/v1/watch/pods?resourceVersion=1", "")
	require.Equal(t, 410, resp.StatusCode, "a refusal before the first event is an HTTP status")
	start := time.Now()
	w.api.events = make(chan *apiv1.WatchEvent)
	resp, body := w.do(t, "GET", "/api/v1/pods?watch=1&timeoutSeconds=1", "")
	require.Equal(t, 200, resp.StatusCode)
	require.Empty(t, body)
	require.GreaterOrEqual(t, time.Since(start), time.Second)
}

func TestClientGoWatchesInProtobuf(t *testing.T) {
	w := newWorld(t)
	client := w.clientset(t)
	got, err := client.CoreV1().Pods("default").Get(context.Background(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, w.api.pod.Spec, got.Spec)
	watch, err := client.CoreV1().Pods("default").Watch(context.Background(), metav1.ListOptions{})
	require.NoError(t, err)
	defer watch.Stop()
	for _, typ := range []apiv1.WatchEvent_Type{apiv1.WatchEvent_TYPE_ADDED, apiv1.WatchEvent_TYPE_DELETED} {
		w.api.events <- &apiv1.WatchEvent{Type: typ}
		ev := <-watch.ResultChan()
		require.Equal(t, "web", ev.Object.(*corev1.Pod).Name)
	}
}

func (w *world) restConfig() *rest.Config {
	cert, key := w.keys.adminPEM()
	return &rest.Config{QPS: -1, Host: w.url, TLSClientConfig: rest.TLSClientConfig{CAData: w.keys.cluster.CAPEM(), CertData: cert, KeyData: key}}
}

func (w *world) clientset(t testing.TB) *kubernetes.Clientset {
	cfg := w.restConfig()
	cfg.ContentType = "application/vnd.kubernetes.protobuf"
	c, err := kubernetes.NewForConfig(cfg)
	require.NoError(t, err)
	return c
}

func TestDiscoveryInBothForms(t *testing.T) {
	w := newWorld(t)
	res, body := w.do(t, "GET", "/apis", "", "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;q=0.9")
	require.Equal(t, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", res.Header.Get("Content-Type"))
	require.Contains(t, body, `"resource":"deployments"`)
	etag := res.Header.Get("ETag")
	res, _ = w.do(t, "GET", "/apis", "", "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "If-None-Match: "+etag)
	require.Equal(t, 304, res.StatusCode)

	groups, lists, err := w.clientset(t).Discovery().ServerGroupsAndResources()
	require.NoError(t, err)
	require.Len(t, groups, 2)
	require.Len(t, lists, 2)
	for path, want := range map[string]string{"/api": `"versions":["v1"]`, "/apis": `"name":"apps"`, "/apis/apps": `"preferredVersion"`, "/api/v1": `"name":"pods/eviction"`, "/apis/apps/v1/": `"groupVersion":"apps/v1"`} {
		_, body := w.do(t, "GET", path, "")
		require.Contains(t, body, want, path)
	}
	info, err := w.clientset(t).Discovery().ServerVersion()
	require.NoError(t, err)
	require.Equal(t, "1", info.Major)

	res, _ = w.do(t, "GET", "/openapi/v3/api/v1?hash=ABC", "")
	require.Contains(t, res.Header.Get("Cache-Control"), "immutable")
	res, _ = w.do(t, "GET", "/openapi/v3/api/v1?hash=OLD", "")
	require.Equal(t, "ABC", res.Request.URL.Query().Get("hash"), "an old hash leads to the newest document")
}
