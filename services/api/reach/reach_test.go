package reach_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/reach"
)

// agent is a node's: in each of its pods something repeats what it hears, after the pod's name. Pod "deaf" refuses.
type agent struct {
	agentv1.UnimplementedPodAccessServiceServer
}

func (agent) PortForward(stream agentv1.PodAccessService_PortForwardServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start.GetPod().GetName() == "deaf" {
		return apierr.ToGRPC(apierrors.NewInternalError(errors.New("connection refused")))
	}
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	greeting := start.GetPod().GetName() + ":" + strconv.Itoa(int(start.GetPort())) + " "
	if err := stream.Send(&agentv1.PortForwardResponse{Data: []byte(greeting)}); err != nil {
		return err
	}
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		if req.GetCloseWrite() {
			return stream.Send(&agentv1.PortForwardResponse{Data: []byte(" end")})
		}
		if err := stream.Send(&agentv1.PortForwardResponse{Data: req.GetData()}); err != nil {
			return err
		}
	}
}

type nodes struct{ conn grpc.ClientConnInterface }

func (n nodes) DialNode(context.Context, *corev1.Node) (grpc.ClientConnInterface, error) {
	return n.conn, nil
}

type world struct {
	*client.Client
	t     *testing.T
	reach *reach.Reacher
}

func newWorld(t *testing.T) *world {
	server := transport.NewServer(nil, nil)
	agentv1.RegisterPodAccessServiceServer(server, agent{})
	c := apitest.Start(t, func(config *api.Config) {
		config.Nodes = nodes{server.Conn(identity.User{Name: identity.UserAPI})}
	})
	w := &world{Client: c.Client(apitest.Admin), t: t, reach: c.API.Reach()}
	w.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
	return w
}

func (w *world) create(objects ...client.Object) {
	w.t.Helper()
	for _, obj := range objects {
		require.NoError(w.t, w.Create(w.t.Context(), obj))
	}
}

func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: "default"} }

func (w *world) pod(name string) {
	w.create(&corev1.Pod{ObjectMeta: meta(name), Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "img"}}}})
}

// service makes a Service with a port "web", 80, whose endpoints listen at port.
func (w *world) service(name string, port int32, endpoints ...discoveryv1.Endpoint) {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: meta(name + "-1"), AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
		Ports: []discoveryv1.EndpointPort{{Name: new("web"), Port: &port}},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: name}
	w.create(slice, &corev1.Service{ObjectMeta: meta(name), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "web", Port: 80}}}})
	// A read that asks for the newest waits until everybody who reads here sees it.
	require.NoError(w.t, w.Get(w.t.Context(), slice, "default", slice.Name))
}

func of(pod string) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{"192.0.2.1"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod}}
}

func TestServiceIsReachedThroughTheAgentOfAReadyPod(t *testing.T) {
	w := newWorld(t)
	w.pod("ready")
	w.pod("deaf")
	starting := of("starting")
	starting.Conditions.Ready = new(false)
	w.service("web", 8080, starting, of("deaf"), of("ready"))

	conn, err := w.reach.Dial(t.Context(), "default", "web", 80)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, conn.(interface{ CloseWrite() error }).CloseWrite())
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, "ready:8080 hello end", string(answer))
	require.Equal(t, "tcp", conn.RemoteAddr().Network())
}

func TestConnectionHasDeadlinesAndAnEnd(t *testing.T) {
	w := newWorld(t)
	w.pod("p")
	ctx, cancel := context.WithCancel(t.Context())
	conn, err := w.reach.DialPod(ctx, "default", "p", 1)
	require.NoError(t, err)
	cancel() // what made the connection may end
	greeting := make([]byte, 4)
	_, err = io.ReadFull(conn, greeting)
	require.NoError(t, err)

	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	_, err = conn.Read(greeting)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, conn.SetReadDeadline(time.Time{}))

	// Nobody reads what comes back: at some point nothing more can be written.
	require.NoError(t, conn.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
	for err = nil; err == nil; {
		_, err = conn.Write(make([]byte, 64<<10))
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, conn.Close())
	_, err = conn.Read(greeting)
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestEndpointWithoutPodIsReachedDirectly(t *testing.T) {
	w := newWorld(t)
	address := ownAddress(t)
	lis, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	require.NoError(t, err)
	defer lis.Close()
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("direct"))
			_ = conn.Close()
		}
	}()
	port := int32(lis.Addr().(*net.TCPAddr).Port)
	w.service("bare", port, discoveryv1.Endpoint{Addresses: []string{address}})
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "m"}}
	w.create(node)
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
	require.NoError(t, w.UpdateStatus(t.Context(), node))

	require.NoError(t, w.Get(t.Context(), node, "", "m"))
	_, err = w.reach.DialService(t.Context(), "default", "bare", "web")
	require.ErrorContains(t, err, `no endpoints available for service "bare"`, "who makes a Service chooses no address of the control plane's")
	for name, dial := range map[string]func() (net.Conn, error){
		"node":          func() (net.Conn, error) { return w.reach.DialNode(t.Context(), "m", port) },
		"bare endpoint": func() (net.Conn, error) { return w.reach.Dial(t.Context(), "default", "bare", 80) },
	} {
		conn, err := dial()
		require.NoError(t, err, name)
		got, err := io.ReadAll(conn)
		require.NoError(t, err, name)
		require.Equal(t, "direct", string(got), name)
		require.NoError(t, conn.Close())
	}
}

// ownAddress is an address of this machine that endpoints may have.
func ownAddress(t *testing.T) string {
	all, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but its loopback's")
	return ""
}

func TestWhatIsNotReachedSaysWhy(t *testing.T) {
	w := newWorld(t)
	w.pod("deaf")
	w.create(&corev1.Pod{ObjectMeta: meta("pending"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "img"}}}})
	w.service("deaf", 8080, of("deaf"))
	w.service("empty", 8080)
	w.create(&corev1.Service{ObjectMeta: meta("elsewhere"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"}})
	ctx := t.Context()
	for _, c := range []struct{ name, port, want string }{
		{"missing", "80", `services "missing" not found`},
		{"empty", "80", `no endpoints available for service "empty"`},
		{"empty", "81", `no service port 81 found for service "empty"`},
		{"empty", "other", `no endpoints available for service "empty"`},
		{"elsewhere", "1", `service "elsewhere" names another host, where nothing is proxied to`},
		{"deaf", "web", `connect to service "deaf": connect to pod deaf: Internal error occurred: connection refused`},
	} {
		_, err := w.reach.DialService(ctx, "default", c.name, c.port)
		require.ErrorContains(t, err, c.want)
	}
	_, err := w.reach.Dial(ctx, "default", "elsewhere", 1)
	require.ErrorContains(t, err, "connect to localhost:1: ")
	_, err = w.reach.DialPod(ctx, "default", "pending", 80)
	require.EqualError(t, err, "pod pending does not have a host assigned")
}
