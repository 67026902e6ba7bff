package node_test

import (
	"context"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	runtimev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/volume"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/node"
)

func agent(name string) identity.User {
	return identity.User{Name: identity.NodePrefix + name, Groups: []string{identity.GroupNodes}}
}

// mirror is a node's end of a stream: what it has been told exists.
type mirror struct {
	t        *testing.T
	stream   nodev1.AssignmentService_StreamClient
	objects  map[string]*nodev1.Change
	revision int64
	complete bool
	drained  map[string]bool
}

func open(t *testing.T, c *apitest.Cluster, name string, scope nodev1.Scope) *mirror {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	stream, err := nodev1.NewAssignmentServiceClient(c.Conn(agent(name))).Stream(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&nodev1.StreamRequest{Message: &nodev1.StreamRequest_Hello{Hello: &nodev1.Hello{Node: name, Scope: scope}}}))
	m := &mirror{t: t, stream: stream, objects: map[string]*nodev1.Change{}, drained: map[string]bool{}}
	m.until(func() bool { return m.complete })
	return m
}

// until receives until the condition holds.
func (m *mirror) until(cond func() bool) {
	m.t.Helper()
	for !cond() {
		res, err := m.stream.Recv()
		require.NoError(m.t, err)
		require.GreaterOrEqual(m.t, res.Revision, m.revision, "revisions do not go back")
		m.revision, m.complete = res.Revision, m.complete || res.SnapshotComplete
		for _, uid := range res.Drained {
			require.False(m.t, m.drained[uid], "told twice")
			m.drained[uid] = true
		}
		for _, c := range res.Changes {
			key := c.Kind + " " + c.Namespace + "/" + c.Name
			if c.Op == nodev1.Change_OP_REMOVE {
				require.Contains(m.t, m.objects, key)
				delete(m.objects, key)
				continue
			}
			if c.Kind == "Pod" {
				m.checkDependents(c)
			}
			m.objects[key] = c
		}
	}
}

// checkDependents: what a pod uses comes before the pod.
func (m *mirror) checkDependents(c *nodev1.Change) {
	pod := &corev1.Pod{}
	require.NoError(m.t, pod.Unmarshal(c.Object))
	for _, v := range pod.Spec.Volumes {
		if v.ConfigMap != nil {
			require.Contains(m.t, m.objects, "ConfigMap "+pod.Namespace+"/"+v.ConfigMap.Name)
		}
	}
}

func (m *mirror) has(key string) func() bool {
	return func() bool { return m.objects[key] != nil }
}

func (m *mirror) hasNot(key string) func() bool {
	return func() bool { return m.objects[key] == nil }
}

func podOn(name, node, configMap string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	if configMap != "" {
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: configMap}}}}}
	}
	return p
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Data: map[string]string{"a": "b"}}
}

func TestNodeGetsItsPodsAndJustWhatTheyUse(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	require.NoError(t, cl.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}))
	require.NoError(t, cl.Create(ctx, configMap("used")))
	require.NoError(t, cl.Create(ctx, configMap("unused")))
	require.NoError(t, cl.Create(ctx, &runtimev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "named"}, Handler: "runc"}))
	require.NoError(t, cl.Create(ctx, &runtimev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "unnamed"}, Handler: "runc"}))
	mine := podOn("mine", "n1", "used")
	mine.Spec.RuntimeClassName = new("named")
	require.NoError(t, cl.Create(ctx, mine))
	require.NoError(t, cl.Create(ctx, podOn("theirs", "n2", "unused")))

	m := open(t, c, "n1", nodev1.Scope_SCOPE_PODS)
	require.Contains(t, m.objects, "Pod default/mine")
	require.Contains(t, m.objects, "Node /n1")
	require.Contains(t, m.objects, "ConfigMap default/used")
	require.Contains(t, m.objects, "RuntimeClass /named")
	require.NotContains(t, m.objects, "RuntimeClass /unnamed")
	require.NotContains(t, m.objects, "Pod default/theirs")
	require.NotContains(t, m.objects, "ConfigMap default/unused")

	// A pod that is bound later brings along what it uses.
	late := podOn("late", "", "unused")
	require.NoError(t, cl.Create(ctx, late))
	require.NoError(t, cl.CreateSubresource(ctx, late, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "late", Namespace: "default"}, Target: corev1.ObjectReference{Name: "n1"}}, "late", "binding"))
	m.until(m.has("Pod default/late"))

	// What it uses is followed, and goes with its last user.
	used := configMap("unused")
	used.Data["a"] = "c"
	require.NoError(t, cl.Update(ctx, used))
	m.until(func() bool {
		got := &corev1.ConfigMap{}
		require.NoError(t, got.Unmarshal(m.objects["ConfigMap default/unused"].Object))
		return got.Data["a"] == "c" && got.ResourceVersion == used.ResourceVersion
	})
	now := int64(0)
	require.NoError(t, cl.Delete(ctx, late, client.DeleteOptions{GracePeriodSeconds: &now}))
	m.until(m.hasNot("Pod default/late"))
	m.until(m.hasNot("ConfigMap default/unused"))
	require.Contains(t, m.objects, "ConfigMap default/used")

	// What the node acknowledges can be read.
	require.NoError(t, m.stream.Send(&nodev1.StreamRequest{Message: &nodev1.StreamRequest_Ack{Ack: &nodev1.Acknowledgement{Revision: m.revision}}}))
	waitAck(t, c, func(a *node.Acks) bool { r, ok := a.Pods("n1"); return ok && r == m.revision })
}

func waitAck(t *testing.T, c *apitest.Cluster, cond func(*node.Acks) bool) {
	t.Helper()
	for acks := c.API.Acks(); ; {
		changed := acks.Changed()
		if cond(acks) {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatal("not acknowledged")
		}
	}
}

func serviceIn(namespace, name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
}

func TestNodeGetsServicesThatItsPodsAreToldOf(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	for _, name := range []string{"quiet", "talking"} {
		require.NoError(t, cl.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
		require.NoError(t, cl.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: name}}))
		require.NoError(t, cl.Create(ctx, serviceIn(name, "web")))
	}
	in := func(namespace, name string, links bool) *corev1.Pod {
		p := podOn(name, "n1", "")
		p.Namespace, p.Spec.EnableServiceLinks = namespace, &links
		return p
	}
	first := in("talking", "first", true)
	require.NoError(t, cl.Create(ctx, in("quiet", "none", false)))
	require.NoError(t, cl.Create(ctx, first))
	m := open(t, c, "n1", nodev1.Scope_SCOPE_PODS)
	require.Contains(t, m.objects, "Service talking/web")
	require.NotContains(t, m.objects, "Service quiet/web")

	require.NoError(t, cl.Create(ctx, serviceIn("talking", "late")))
	m.until(m.has("Service talking/late"))
	require.NoError(t, cl.Delete(ctx, serviceIn("talking", "late"), client.DeleteOptions{}))
	m.until(m.hasNot("Service talking/late"))

	// They go with the last pod that is told of them.
	now := int64(0)
	require.NoError(t, cl.Create(ctx, in("talking", "second", true)))
	m.until(m.has("Pod talking/second"))
	require.NoError(t, cl.Delete(ctx, first, client.DeleteOptions{GracePeriodSeconds: &now}))
	m.until(m.hasNot("Pod talking/first"))
	require.Contains(t, m.objects, "Service talking/web")
	require.NoError(t, cl.Delete(ctx, in("talking", "second", true), client.DeleteOptions{GracePeriodSeconds: &now}))
	m.until(m.hasNot("Pod talking/second"))
	m.until(m.hasNot("Service talking/web"))
}

func TestProxyGetsServices(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	m := open(t, c, "n1", nodev1.Scope_SCOPE_SERVICES)
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	require.NoError(t, cl.Create(ctx, svc))
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}}, AddressType: discoveryv1.AddressTypeIPv4}
	require.NoError(t, cl.Create(ctx, slice))
	m.until(m.has("Service default/web"))
	m.until(m.has("EndpointSlice default/web-1"))
	require.NoError(t, m.stream.Send(&nodev1.StreamRequest{Message: &nodev1.StreamRequest_Ack{Ack: &nodev1.Acknowledgement{
		Revision: m.revision, Services: []*nodev1.ProgrammedService{{Namespace: "default", Name: "web", Revision: m.revision}},
	}}}))
	waitAck(t, c, func(a *node.Acks) bool {
		return a.Service(node.ServiceName{Namespace: "default", Name: "web"})["n1"].Revision == m.revision
	})
}

func TestOnlyTheNodeItselfMayStream(t *testing.T) {
	c := apitest.Start(t)
	stream, err := nodev1.NewAssignmentServiceClient(c.Conn(agent("n2"))).Stream(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&nodev1.StreamRequest{Message: &nodev1.StreamRequest_Hello{Hello: &nodev1.Hello{Node: "n1", Scope: nodev1.Scope_SCOPE_PODS}}}))
	_, err = stream.Recv()
	require.Equal(t, codes.PermissionDenied, status.Code(err))
}

func TestStatusReports(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	p, other := podOn("p", "", ""), podOn("other", "n2", "")
	require.NoError(t, cl.Create(ctx, p))
	require.NoError(t, cl.Create(ctx, other))
	require.NoError(t, cl.CreateSubresource(ctx, p, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}, Target: corev1.ObjectReference{Name: "n1"}}, "p", "binding"))
	reports := nodev1.NewStatusServiceClient(c.Conn(agent("n1")))
	running, err := (&corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.244.0.5", Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}).Marshal()
	require.NoError(t, err)
	report := func(terminated bool) []*nodev1.PodResult {
		res, err := reports.Report(ctx, &nodev1.ReportRequest{Node: "n1", Pods: []*nodev1.PodStatus{
			{Namespace: "default", Name: "p", Uid: string(p.UID), Status: running, Terminated: terminated},
			{Namespace: "default", Name: "p", Uid: "another", Status: running},
			{Namespace: "default", Name: "other", Uid: string(other.UID), Status: running},
		}})
		require.NoError(t, err)
		return res.Results
	}
	res := report(false)
	require.Equal(t, int32(codes.OK), res[0].Code, res[0].Message)
	require.Equal(t, int32(codes.NotFound), res[1].Code)
	require.Equal(t, int32(codes.PermissionDenied), res[2].Code)
	require.NoError(t, cl.Get(ctx, p, "default", "p"))
	require.Equal(t, corev1.PodRunning, p.Status.Phase)
	require.Equal(t, []corev1.PodIP{{IP: "10.244.0.5"}}, p.Status.PodIPs)
	conditions := map[corev1.PodConditionType]corev1.ConditionStatus{}
	for _, cond := range p.Status.Conditions {
		conditions[cond.Type] = cond.Status
	}
	require.Equal(t, map[corev1.PodConditionType]corev1.ConditionStatus{corev1.PodReady: "True", corev1.PodScheduled: "True"}, conditions)

	// The same again writes nothing.
	before := p.ResourceVersion
	report(false)
	require.NoError(t, cl.Get(ctx, p, "default", "p"))
	require.Equal(t, before, p.ResourceVersion)

	// A running pod ends gracefully: it goes when its node says so.
	require.NoError(t, cl.Delete(ctx, p, client.DeleteOptions{}))
	require.NoError(t, cl.Get(ctx, p, "default", "p"))
	require.Equal(t, int64(30), *p.DeletionGracePeriodSeconds)
	report(true)
	require.True(t, apierrors.IsNotFound(cl.Get(ctx, p, "default", "p")))
}

func TestNodeGetsTheVolumesItKeepsAndLetsThemGo(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	kept := func(name, node string) *corev1.PersistentVolume {
		v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{volume.NodeLabel: node}, Finalizers: []string{volume.FolderFinalizer}}}
		v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
		v.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
		v.Spec.HostPath = &corev1.HostPathVolumeSource{Path: "/x"}
		return v
	}
	require.NoError(t, cl.Create(ctx, kept("early", "n1")))
	require.NoError(t, cl.Create(ctx, kept("theirs", "n2")))
	m := open(t, c, "n1", nodev1.Scope_SCOPE_PODS)
	require.Contains(t, m.objects, "PersistentVolume /early")
	require.NotContains(t, m.objects, "PersistentVolume /theirs")
	require.NoError(t, cl.Create(ctx, kept("late", "n1")))
	m.until(m.has("PersistentVolume /late"))

	reports := nodev1.NewVolumeServiceClient(c.Conn(agent("n1")))
	_, err := reports.ReportRemoved(ctx, &nodev1.ReportRemovedRequest{Node: "n1", Volumes: []string{"late"}})
	require.Equal(t, codes.PermissionDenied, status.Code(err), "it is not deleted")
	for _, name := range []string{"late", "theirs"} {
		v := &corev1.PersistentVolume{}
		require.NoError(t, cl.Get(ctx, v, "", name))
		v.Finalizers = []string{volume.FolderFinalizer} // a controller takes its protection away when nobody claims it
		require.NoError(t, cl.Update(ctx, v))
		require.NoError(t, cl.Delete(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}, client.DeleteOptions{}))
	}
	_, err = reports.ReportRemoved(ctx, &nodev1.ReportRemovedRequest{Node: "n1", Volumes: []string{"theirs"}})
	require.Equal(t, codes.PermissionDenied, status.Code(err), "another node keeps it")
	for range 2 {
		_, err = reports.ReportRemoved(ctx, &nodev1.ReportRemovedRequest{Node: "n1", Volumes: []string{"late"}})
		require.NoError(t, err)
	}
	m.until(m.hasNot("PersistentVolume /late"))
}

// TestPodStopsWhenNobodySendsToIt: a terminating pod is reported drained once its endpoint is marked and every connected
// proxy has programmed that; a pod of no Service at once.
func TestPodStopsWhenNobodySendsToIt(t *testing.T) {
	c := apitest.Start(t)
	admin, ctx := c.Client(apitest.Admin), t.Context()
	require.NoError(t, admin.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}}))
	served, alone := boundPod(t, c, "served", "a"), boundPod(t, c, "alone", "a")
	yes, no := true, false
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}}, AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "served", UID: served.UID},
		}},
	}
	require.NoError(t, admin.Create(ctx, slice))
	require.NoError(t, admin.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}))
	pods, proxy := open(t, c, "a", nodev1.Scope_SCOPE_PODS), open(t, c, "b", nodev1.Scope_SCOPE_SERVICES)
	ack := func() {
		programmed := &nodev1.ProgrammedService{Namespace: "default", Name: "web", Revision: proxy.objects["EndpointSlice default/web-1"].Revision}
		require.NoError(t, proxy.stream.Send(&nodev1.StreamRequest{Message: &nodev1.StreamRequest_Ack{Ack: &nodev1.Acknowledgement{
			Revision: proxy.revision, Services: []*nodev1.ProgrammedService{programmed},
		}}}))
	}
	ack()
	require.NoError(t, admin.Delete(ctx, alone, client.DeleteOptions{}))
	pods.until(func() bool { return pods.drained[string(alone.UID)] })
	require.NoError(t, admin.Delete(ctx, served, client.DeleteOptions{}))
	marker := func(name string) {
		boundPod(t, c, name, "a")
		pods.until(func() bool { return pods.objects["Pod default/"+name] != nil })
		require.False(t, pods.drained[string(served.UID)], name)
	}
	marker("endpoint-still-ready")
	slice.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}
	require.NoError(t, admin.Update(ctx, slice))
	proxy.until(func() bool {
		return proxy.objects["EndpointSlice default/web-1"].Revision >= revisionOf(t, slice)
	})
	marker("marked-but-not-programmed")
	ack()
	pods.until(func() bool { return pods.drained[string(served.UID)] })
}

// boundPod makes a pod that runs on a node.
func boundPod(t *testing.T, c *apitest.Cluster, name, node string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	require.NoError(t, c.Client(apitest.Admin).Create(t.Context(), pod))
	return pod
}

func revisionOf(t *testing.T, obj metav1.Object) int64 {
	n, err := strconv.ParseInt(obj.GetResourceVersion(), 10, 64)
	require.NoError(t, err)
	return n
}
