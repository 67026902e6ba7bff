package node_test

import (
	"context"
	"fmt"
	"os"
	goruntime "runtime"
	"runtime/pprof"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/agents/node"
	"karve.dev/karve/agents/node/runtime/simulated"
	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
)

// nodesSettle is how long nodes are left alone before what they hold is measured.
const nodesSettle = 15 * time.Second

// podsEach is how many pods each node of a crowd has.
const podsEach = 20

// crowd is a control plane for many nodes that keeps nothing but counts.
type crowd struct {
	apiv1.UnimplementedResourceServiceServer
	nodev1.UnimplementedAssignmentServiceServer
	nodev1.UnimplementedStatusServiceServer
	nodev1.UnimplementedHeartbeatServiceServer
	server           *transport.Server
	running, reports atomic.Int64
	all              chan struct{} // closed when as many pods as want run
	want             int64
	done             sync.Once
}

func newCrowd(nodes int) *crowd {
	c := &crowd{server: transport.NewServer(nil, nil), all: make(chan struct{}), want: int64(nodes * podsEach)}
	apiv1.RegisterResourceServiceServer(c.server, c)
	nodev1.RegisterAssignmentServiceServer(c.server, c)
	nodev1.RegisterStatusServiceServer(c.server, c)
	nodev1.RegisterHeartbeatServiceServer(c.server, c)
	return c
}

// Create registers a node.
func (c *crowd) Create(_ context.Context, req *apiv1.CreateRequest) (*apiv1.Result, error) {
	n := &corev1.Node{}
	if err := n.Unmarshal(req.GetObject().GetData()); err != nil {
		return nil, err
	}
	n.UID, n.Spec.PodCIDR = types.UID(n.Name), "10.232.0.0/24"
	return answer(n)
}

// Update takes a node's status.
func (c *crowd) Update(_ context.Context, req *apiv1.UpdateRequest) (*apiv1.Result, error) {
	return &apiv1.Result{Object: req.GetObject()}, nil
}

// Stream assigns a node its pods.
func (c *crowd) Stream(stream nodev1.AssignmentService_StreamServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	name := first.GetHello().GetNode()
	snapshot := &nodev1.StreamResponse{Revision: 1, SnapshotComplete: true}
	add := func(kind string, obj message) error {
		data, err := obj.Marshal()
		snapshot.Changes = append(snapshot.Changes, &nodev1.Change{
			Op: nodev1.Change_OP_SET, ApiVersion: "v1", Kind: kind, Namespace: obj.GetNamespace(), Name: obj.GetName(), Object: data, Revision: 1,
		})
		return err
	}
	self := &corev1.Node{Spec: corev1.NodeSpec{PodCIDR: "10.232.0.0/24"}}
	self.Name, self.ResourceVersion = name, "1"
	if err := add("Node", self); err != nil {
		return err
	}
	for i := range podsEach {
		p := pod(fmt.Sprintf("%s-%d", name, i), corev1.Container{})
		p.UID, p.Labels = types.UID(p.Name), map[string]string{"app": "web"}
		p.Spec.NodeName = name
		if err := add("Pod", p); err != nil {
			return err
		}
	}
	if err := stream.Send(snapshot); err != nil {
		return err
	}
	snapshot = nil
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

// Report counts.
func (c *crowd) Report(_ context.Context, req *nodev1.ReportRequest) (*nodev1.ReportResponse, error) {
	res := &nodev1.ReportResponse{}
	for _, st := range req.GetPods() {
		c.reports.Add(1)
		status := corev1.PodStatus{}
		if err := status.Unmarshal(st.GetStatus()); err != nil {
			return nil, err
		}
		if status.Phase == corev1.PodRunning && c.running.Add(1) >= c.want {
			c.done.Do(func() { close(c.all) })
		}
		res.Results = append(res.Results, &nodev1.PodResult{})
	}
	return res, nil
}

// Heartbeat answers.
func (c *crowd) Heartbeat(stream nodev1.HeartbeatService_HeartbeatServer) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		if err := stream.Send(&nodev1.HeartbeatResponse{IntervalMs: 10000}); err != nil {
			return err
		}
	}
}

// BenchmarkSimulatedNodes runs $NODES nodes that pretend (500 if it is not set) with 20 pods each in this process, and tells
// what one holds in memory and how fast statuses arrive until all pods run.
func BenchmarkSimulatedNodes(b *testing.B) {
	nodes, _ := strconv.Atoi(os.Getenv("NODES"))
	if nodes == 0 {
		nodes = 500
	}
	for range b.N {
		plane, rt, dir := newCrowd(nodes), simulated.New(), b.TempDir()
		before, goroutines := held(), goruntime.NumGoroutine()
		ctx, cancel := context.WithCancel(b.Context())
		group, ctx := errgroup.WithContext(ctx)
		began := time.Now()
		for i := range nodes {
			name := fmt.Sprintf("sim-%d", i)
			conn := plane.server.Conn(identity.User{Name: identity.NodePrefix + name, Groups: []string{identity.GroupNodes}})
			agent, err := node.New(node.Config{
				Cluster: "sim", NodeName: name, DataDir: dir + "/" + name, Conn: conn, HealthConn: conn, Client: client.New(conn, "kubelet"),
				Runtime: rt, Log: zap.NewNop(), Events: quiet{},
			})
			require.NoError(b, err)
			group.Go(func() error { return agent.Run(ctx) })
		}
		<-plane.all
		took := time.Since(began)
		time.Sleep(nodesSettle)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(held()-before)/float64(nodes)/1024, "KiB/node")
		b.ReportMetric(float64(stacks())/float64(nodes)/1024, "KiB-of-it-stacks")
		b.ReportMetric(float64(goruntime.NumGoroutine()-goroutines)/float64(nodes), "goroutines/node")
		b.ReportMetric(float64(plane.reports.Load())/took.Seconds(), "statuses/s")
		b.ReportMetric(took.Seconds(), "s-to-all-running")
		if path := os.Getenv("HEAP"); path != "" {
			f, err := os.Create(path)
			require.NoError(b, err)
			require.NoError(b, pprof.WriteHeapProfile(f))
			require.NoError(b, f.Close())
			f, err = os.Create(path + ".goroutines")
			require.NoError(b, err)
			require.NoError(b, pprof.Lookup("goroutine").WriteTo(f, 1))
			require.NoError(b, f.Close())
		}
		cancel()
		require.NoError(b, group.Wait())
	}
}

// held is what the process holds: living objects, and stacks as they are once it has been quiet.
func held() int64 {
	for range 6 { // stacks shrink by half each time
		goruntime.GC()
	}
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func stacks() uint64 {
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	return m.StackInuse
}

// quiet records no events.
type quiet struct{}

func (quiet) Event(client.Object, string, string, string, ...any)            {}
func (quiet) EventOn(corev1.ObjectReference, string, string, string, ...any) {}
