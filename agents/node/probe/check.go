package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"karve.dev/karve/agents/node/runtime"
)

// errUnknown is the result of a probe that could not be made, through no fault of the container: the engine is away.
var errUnknown = errors.New("unknown")

// unmade is why a probe could not be made as it is written down: its command or port does not exist. It says nothing about
// the container's health, so it does not count.
type unmade struct{ error }

// check runs a probe once, whatever it takes; nil means healthy.
func check(ctx context.Context, j *job) error {
	timeout := j.timeout()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	handler := &j.probe.ProbeHandler
	switch {
	case handler.Exec != nil:
		return checkExec(ctx, j.Exec, handler.Exec.Command, timeout)
	case handler.HTTPGet != nil:
		elsewhere, err := httpGet(ctx, j.Spec, j.Host, handler.HTTPGet)
		if elsewhere != nil && j.Warned != nil {
			j.Warned(fmt.Sprintf("%s probe warning: Probe terminated redirects, Response body: %s", j.title(), elsewhere))
		}
		return err
	case handler.TCPSocket != nil:
		return TCPConnect(ctx, j.Spec, j.Host, handler.TCPSocket)
	case handler.GRPC != nil:
		return checkGRPC(ctx, j.Host, handler.GRPC, timeout)
	}
	return errors.New("probe has no handler")
}

func checkExec(ctx context.Context, exec Exec, command []string, timeout time.Duration) error {
	code, output, err := exec(ctx, command)
	switch {
	case errors.Is(err, runtime.ErrUnavailable): // also in time: the command has not begun
		return errUnknown
	case ctx.Err() != nil:
		return fmt.Errorf("command timed out: %q timed out after %s", strings.Join(command, " "), timeout)
	case err != nil:
		return unmade{cause(err)}
	case code != 0:
		return errors.New(output)
	}
	return nil
}

// cause leaves out what differs from one try to the next, so that events about it are one.
func cause(err error) error {
	var fault *runtime.StartError
	if errors.As(err, &fault) {
		if i := strings.Index(fault.Message, engineSays); i > 0 {
			return errors.New(fault.Message[i:])
		}
	}
	return err
}

// engineSays begins what the engine says of a command that it cannot start.
const engineSays = "OCI runtime exec failed"

// Port resolves a port by number or by the name that the container gives it.
func Port(c *corev1.Container, port intstr.IntOrString) (int, error) {
	if port.Type == intstr.Int {
		return port.IntValue(), nil
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return int(p.ContainerPort), nil
		}
	}
	if n, err := strconv.Atoi(port.StrVal); err == nil {
		return n, nil
	}
	return 0, unmade{fmt.Errorf("port %q not found", port.StrVal)}
}

// TCPConnect opens a connection to a container's port.
func TCPConnect(ctx context.Context, c *corev1.Container, host string, socket *corev1.TCPSocketAction) error {
	port, err := Port(c, socket.Port)
	if err != nil {
		return err
	}
	if socket.Host != "" {
		host = socket.Host
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return conn.Close()
}

func checkGRPC(ctx context.Context, host string, action *corev1.GRPCAction, timeout time.Duration) error {
	addr := net.JoinHostPort(host, strconv.Itoa(int(action.Port)))
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent("kube-probe/1.37"))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	defer conn.Close()
	service := ""
	if action.Service != nil {
		service = *action.Service
	}
	res, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{Service: service})
	switch status.Code(err) {
	case codes.OK:
	case codes.Unimplemented:
		return fmt.Errorf("this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", status.Convert(err).Message())
	case codes.DeadlineExceeded, codes.Unavailable:
		return fmt.Errorf("timeout: failed to connect service %q within %s: %s", addr, timeout, status.Convert(err).Message())
	default:
		return fmt.Errorf("rpc error: %w", err)
	}
	if res.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		return fmt.Errorf("service unhealthy (responded with %q)", res.GetStatus())
	}
	return nil
}
