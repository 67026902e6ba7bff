package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/bytestream"
)

// openTimeout bounds how long the API service may take to make a connection.
const openTimeout = 30 * time.Second

// open makes a connection through the API service. Ctx carries the caller's credentials; the connection outlives it.
func open(ctx context.Context, api apiv1.TunnelServiceClient, start *apiv1.TunnelStart) (net.Conn, error) {
	through, cancel := context.WithCancel(context.WithoutCancel(ctx))
	late := time.AfterFunc(openTimeout, cancel)
	stop := context.AfterFunc(ctx, cancel)
	stream, err := begin(through, api, start)
	inTime, wanted := late.Stop(), stop()
	if err == nil && inTime && wanted {
		return bytestream.New(clientEnd{stream}, cancel, addr("gateway"), addr(start.GetName())), nil
	}
	cancel()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case !inTime:
		return nil, apierrors.NewServiceUnavailable("no connection was made in " + openTimeout.String())
	}
	return nil, err
}

// begin opens the stream and waits for the API service's verdict.
func begin(ctx context.Context, api apiv1.TunnelServiceClient, start *apiv1.TunnelStart) (apiv1.TunnelService_OpenClient, error) {
	stream, err := api.Open(ctx)
	if err != nil {
		return nil, apierr.FromGRPC(err)
	}
	err = stream.Send(&apiv1.OpenRequest{Message: &apiv1.OpenRequest_Start{Start: start}})
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, apierr.FromGRPC(err)
	}
	if md, err := stream.Header(); err == nil && md != nil {
		return stream, nil
	}
	// No headers: the stream has ended, and this is how.
	if _, err = stream.Recv(); err == nil || errors.Is(err, io.EOF) {
		err = apierrors.NewServiceUnavailable("the API service has ended the connection")
	}
	return nil, apierr.FromGRPC(err)
}

// clientEnd is the gateway's end of a tunnel as a stream of bytes.
type clientEnd struct {
	stream grpc.BidiStreamingClient[apiv1.OpenRequest, apiv1.OpenResponse]
}

func (e clientEnd) Send(data []byte) error {
	return e.stream.Send(&apiv1.OpenRequest{Message: &apiv1.OpenRequest_Data{Data: data}})
}

func (e clientEnd) CloseSend() error { return e.stream.CloseSend() }

func (e clientEnd) Recv() ([]byte, error) {
	res, err := e.stream.Recv()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, apierr.FromGRPC(err)
	}
	return res.GetData(), err
}

// addr is the address of an end that is no socket of this machine.
type addr string

// Network implements net.Addr.
func (addr) Network() string { return "tcp" }

// String implements net.Addr.
func (a addr) String() string { return string(a) }
