package node_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
)

// plane is a control plane that does no more than a node needs: it holds pods, gives the node its podCIDR, and stores
// what is reported.
type plane struct {
	apiv1.UnimplementedResourceServiceServer
	nodev1.UnimplementedAssignmentServiceServer
	nodev1.UnimplementedStatusServiceServer
	nodev1.UnimplementedHeartbeatServiceServer
	t      testing.TB
	server *transport.Server
	cidr   string
	// metrics are those of the node.
	metrics *prometheus.Registry

	mu       sync.Mutex
	changed  *sync.Cond
	revision int64
	node     *corev1.Node
	pods     map[string]*corev1.Pod
	configs  map[string]*corev1.ConfigMap
	secrets  map[string]*corev1.Secret
	log      []*nodev1.Change
	events   []string
	acked    int64
	beats    int
	running  map[string]time.Time // when each pod was first reported Running
}

func newPlane(t testing.TB, cidr string) *plane {
	p := &plane{
		t: t, cidr: cidr, metrics: prometheus.NewRegistry(), server: transport.NewServer(nil, nil), pods: map[string]*corev1.Pod{},
		configs: map[string]*corev1.ConfigMap{}, secrets: map[string]*corev1.Secret{}, running: map[string]time.Time{},
	}
	p.changed = sync.NewCond(&p.mu)
	apiv1.RegisterResourceServiceServer(p.server, p)
	nodev1.RegisterAssignmentServiceServer(p.server, p)
	nodev1.RegisterStatusServiceServer(p.server, p)
	nodev1.RegisterHeartbeatServiceServer(p.server, p)
	return p
}

func (p *plane) conn(node string) grpc.ClientConnInterface {
	return p.server.Conn(identity.User{Name: identity.NodePrefix + node, Groups: []string{identity.GroupNodes}})
}

// message is an object in its protobuf form.
type message interface {
	client.Object
	Marshal() ([]byte, error)
}

// set sends an object to the node. mu must be held.
func (p *plane) set(kind string, obj message) {
	p.revision++
	obj.SetResourceVersion(strconv.FormatInt(p.revision, 10))
	data, err := obj.Marshal()
	require.NoError(p.t, err)
	p.log = append(p.log, &nodev1.Change{
		Op: nodev1.Change_OP_SET, ApiVersion: "v1", Kind: kind, Namespace: obj.GetNamespace(), Name: obj.GetName(), Object: data, Revision: p.revision,
	})
	p.changed.Broadcast()
}

// create stores a pod for the node, as the scheduler would have bound it.
func (p *plane) create(pod *corev1.Pod) *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	pod.UID = types.UID(fmt.Sprintf("%08x-%s", len(p.log)+os.Getpid()<<8, pod.Name))
	pod.CreationTimestamp = metav1.Now()
	p.pods[pod.Name] = pod
	p.set("Pod", pod)
	return pod
}

func (p *plane) update(name string, change func(*corev1.Pod)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pod := p.pods[name].DeepCopy()
	change(pod)
	p.pods[name] = pod
	p.set("Pod", pod)
}

func (p *plane) setConfigMap(cm *corev1.ConfigMap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.configs[cm.Name] = cm
	p.set("ConfigMap", cm)
}

func (p *plane) setSecret(secret *corev1.Secret) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.secrets[secret.Name] = secret
	p.set("Secret", secret)
}

// delete marks a pod as terminating.
func (p *plane) delete(name string, grace int64) {
	p.update(name, func(pod *corev1.Pod) {
		now := metav1.Now()
		pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &now, &grace
	})
}

// remove takes a pod away at once, as a forced deletion does.
func (p *plane) remove(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(p.pods[name])
}

func (p *plane) drop(pod *corev1.Pod) {
	delete(p.pods, pod.Name)
	p.revision++
	p.log = append(p.log, &nodev1.Change{Op: nodev1.Change_OP_REMOVE, ApiVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, Revision: p.revision})
	p.changed.Broadcast()
}

// wait waits until a pod's status, nil when it is gone, satisfies ok.
func (p *plane) wait(name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	p.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	stop := time.AfterFunc(time.Until(deadline), p.changed.Broadcast)
	defer stop.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !ok(p.pods[name]) {
		if time.Now().After(deadline) {
			require.FailNow(p.t, "pod "+name+" is never "+what, "%s\n%s", dump(p.pods[name]), strings.Join(p.events, "\n"))
		}
		p.changed.Wait()
	}
	return p.pods[name]
}

// terminating names the pods that are being deleted: no proxy sends to them. mu must be held.
func (p *plane) terminating() (uids []string) {
	for _, pod := range p.pods {
		if pod.DeletionTimestamp != nil {
			uids = append(uids, string(pod.UID))
		}
	}
	return uids
}

// until waits until ok, which is called with mu held.
func (p *plane) until(what string, ok func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	stop := time.AfterFunc(time.Until(deadline), p.changed.Broadcast)
	defer stop.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !ok() {
		require.True(p.t, time.Now().Before(deadline), "never: %s", what)
		p.changed.Wait()
	}
}

func dump(pod *corev1.Pod) string {
	if pod == nil {
		return "gone"
	}
	text, _ := yaml.Marshal(pod.Status)
	return string(text)
}

func (p *plane) waitEvent(part string) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.ContainsFunc(p.events, func(e string) bool { return strings.Contains(e, part) })
	}, 20*time.Second, 5*time.Millisecond, "no event %q", part)
}

// Event implements worker.Recorder.
func (p *plane) Event(obj client.Object, eventType, reason, format string, args ...any) {
	p.EventOn(corev1.ObjectReference{Name: obj.GetName()}, eventType, reason, format, args...)
}

// EventOn implements worker.Recorder.
func (p *plane) EventOn(ref corev1.ObjectReference, eventType, reason, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, fmt.Sprintf("%s %s %s %s %s", ref.Name, ref.FieldPath, eventType, reason, fmt.Sprintf(format, args...)))
}

func answer(obj message) (*apiv1.Result, error) {
	data, err := obj.Marshal()
	return &apiv1.Result{Object: &apiv1.Object{ApiVersion: "v1", Kind: "Node", Encoding: apiv1.Encoding_ENCODING_PROTOBUF, Data: data}}, err
}

// Create registers the node, or issues a token.
func (p *plane) Create(_ context.Context, req *apiv1.CreateRequest) (*apiv1.Result, error) {
	if req.GetRef().GetSubresource() == "token" {
		request := &authv1.TokenRequest{}
		require.NoError(p.t, request.Unmarshal(req.GetObject().GetData()))
		expiry := time.Now().Add(time.Hour)
		claims := fmt.Sprintf(`{"iat":%d,"exp":%d}`, time.Now().Unix(), expiry.Unix())
		request.Status.Token = "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".token-of-" + req.GetRef().GetName() + "-for-" + request.Spec.BoundObjectRef.Name
		request.Status.ExpirationTimestamp = metav1.NewTime(expiry)
		return answer(request)
	}
	if req.GetRef().GetKind() == "Pod" {
		mirror := &corev1.Pod{}
		require.NoError(p.t, mirror.Unmarshal(req.GetObject().GetData()))
		data, err := p.create(mirror).Marshal()
		return &apiv1.Result{Object: &apiv1.Object{ApiVersion: "v1", Kind: "Pod", Encoding: apiv1.Encoding_ENCODING_PROTOBUF, Data: data}}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.node != nil {
		return nil, apierr.ToGRPC(apierrors.NewAlreadyExists(schema.GroupResource{Resource: "nodes"}, p.node.Name))
	}
	p.node = &corev1.Node{}
	require.NoError(p.t, p.node.Unmarshal(req.GetObject().GetData()))
	p.node.UID = "node-uid"
	p.node.Spec.PodCIDR = p.cidr
	p.set("Node", p.node)
	return answer(p.node)
}

// Delete removes a mirror pod.
func (p *plane) Delete(_ context.Context, req *apiv1.DeleteRequest) (*apiv1.Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pod := p.pods[req.GetRef().GetName()]; pod != nil && string(pod.UID) == req.GetOptions().GetPreconditionUid() {
		p.drop(pod)
	}
	return &apiv1.Result{}, nil
}

// Get reads the node.
func (p *plane) Get(context.Context, *apiv1.GetRequest) (*apiv1.Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return answer(p.node)
}

// Update stores the node's status.
func (p *plane) Update(_ context.Context, req *apiv1.UpdateRequest) (*apiv1.Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := &corev1.Node{}
	require.NoError(p.t, next.Unmarshal(req.GetObject().GetData()))
	node := p.node.DeepCopy()
	node.Status = next.Status
	p.node = node
	p.set("Node", p.node)
	return answer(p.node)
}

// Stream sends everything there is, then what changes.
func (p *plane) Stream(stream nodev1.AssignmentService_StreamServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	go func() {
		for {
			req, err := stream.Recv()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.acked = req.GetAck().GetRevision()
			p.changed.Broadcast()
			p.mu.Unlock()
		}
	}()
	stop := context.AfterFunc(stream.Context(), p.changed.Broadcast)
	defer stop()
	p.mu.Lock()
	first := &nodev1.StreamResponse{Revision: p.revision, SnapshotComplete: true, Changes: p.snapshot(), Drained: p.terminating()}
	sent := len(p.log)
	p.mu.Unlock()
	if err := stream.Send(first); err != nil {
		return err
	}
	for {
		p.mu.Lock()
		for sent == len(p.log) && stream.Context().Err() == nil {
			p.changed.Wait()
		}
		next := &nodev1.StreamResponse{Revision: p.revision, Changes: p.log[sent:len(p.log):len(p.log)], Drained: p.terminating()}
		sent = len(p.log)
		p.mu.Unlock()
		if err := stream.Context().Err(); err != nil {
			return err
		}
		if err := stream.Send(next); err != nil {
			return err
		}
	}
}

// snapshot is the newest change of each object that exists.
func (p *plane) snapshot() []*nodev1.Change {
	newest := map[string]*nodev1.Change{}
	for _, c := range p.log {
		newest[c.GetKind()+"/"+c.GetName()] = c
	}
	var out []*nodev1.Change
	for _, c := range newest {
		if c.GetOp() == nodev1.Change_OP_SET {
			out = append(out, c)
		}
	}
	return out
}

// Report stores statuses.
func (p *plane) Report(_ context.Context, req *nodev1.ReportRequest) (*nodev1.ReportResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	res := &nodev1.ReportResponse{}
	for _, st := range req.GetPods() {
		result := &nodev1.PodResult{}
		res.Results = append(res.Results, result)
		pod := p.pods[st.GetName()]
		if pod == nil || string(pod.UID) != st.GetUid() {
			result.Code = int32(codes.NotFound)
			continue
		}
		pod = pod.DeepCopy()
		pod.Status = corev1.PodStatus{}
		require.NoError(p.t, pod.Status.Unmarshal(st.GetStatus()))
		p.pods[pod.Name] = pod
		if _, seen := p.running[pod.Name]; !seen && pod.Status.Phase == corev1.PodRunning {
			p.running[pod.Name] = time.Now()
		}
		if st.GetTerminated() {
			p.drop(pod)
			continue
		}
		p.set("Pod", pod)
	}
	return res, nil
}

// Heartbeat counts.
func (p *plane) Heartbeat(stream nodev1.HeartbeatService_HeartbeatServer) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		p.mu.Lock()
		p.beats++
		p.mu.Unlock()
		if err := stream.Send(&nodev1.HeartbeatResponse{IntervalMs: 1000}); err != nil {
			return err
		}
	}
}
