package server

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api/audit"
)

// callTimeout bounds unary calls whose caller has set no deadline.
const callTimeout = time.Minute

// Interceptors run around every call: nothing panics through them, every caller has a name, every unary call a
// deadline, and every error leaves as a gRPC status that carries the Kubernetes Status.
type Interceptors struct {
	// Authenticate names the caller.
	Authenticate func(ctx context.Context) (identity.User, error)
	Log          *zap.Logger
	Metrics      *Metrics
	// Audit records the calls; nil for no records.
	Audit *audit.Log

	limit *limiter
}

// NewInterceptors returns interceptors; metrics may be nil.
func NewInterceptors(authenticate func(ctx context.Context) (identity.User, error), metrics *Metrics, log *zap.Logger) *Interceptors {
	return &Interceptors{Authenticate: authenticate, Log: log, Metrics: metrics, limit: newLimiter(maxInFlight, maxQueued)}
}

// open are the services that answer without knowing who asks.
var open = []string{"/grpc.health.v1.Health/", "/grpc.reflection."}

func (i *Interceptors) enter(ctx context.Context, method string) (context.Context, error) {
	for _, prefix := range open {
		if strings.HasPrefix(method, prefix) {
			return ctx, nil
		}
	}
	user, err := i.Authenticate(ctx)
	if err != nil {
		return ctx, err
	}
	return identity.WithUser(ctx, user), nil
}

func (i *Interceptors) leave(ctx context.Context, method string, req any, start time.Time, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil && ctx.Err() != nil {
		err = status.FromContextError(ctx.Err()).Err()
	}
	out := apierr.ToGRPC(err)
	took := time.Since(start)
	i.Metrics.observe(method, req, out, took)
	if code := status.Code(out); code == codes.Internal || code == codes.Unknown {
		i.Log.Error("request failed", zap.String("method", method), zap.Error(err))
	} else if ce := i.Log.Check(zap.DebugLevel, "request"); ce != nil {
		user, _ := identity.UserFrom(ctx)
		ce.Write(zap.String("method", method), zap.String("user", user.Name), zap.Stringer("code", code), zap.Duration("took", took), zap.Error(err))
	}
	return out
}

func (i *Interceptors) caught(method string, panicked any) error {
	i.Log.Error("panic", zap.String("method", method), zap.Any("panic", panicked), zap.ByteString("stack", debug.Stack()))
	return fmt.Errorf("panic in %s", method)
}

// Unary is the interceptor of unary calls.
func (i *Interceptors) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (res any, err error) {
	start := time.Now()
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	ctx, record := i.Audit.Begin(ctx, info.FullMethod)
	defer func() {
		p := recover()
		if p != nil {
			err = i.caught(info.FullMethod, p)
		}
		if err = i.leave(ctx, info.FullMethod, req, start, err); err != nil {
			res = nil
		}
		record.End(req, res, err, p != nil)
		if err == nil {
			aside(ctx, req, res)
		}
	}()
	ctx, err = i.enter(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	user, _ := identity.UserFrom(ctx)
	leave, err := i.limit.enter(ctx, user)
	if err != nil {
		return nil, err
	}
	defer leave()
	return next(ctx, req)
}

// Stream is the interceptor of streams.
func (i *Interceptors) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	start := time.Now()
	ctx, record := i.Audit.Begin(ss.Context(), info.FullMethod)
	defer func() {
		p := recover()
		if p != nil {
			err = i.caught(info.FullMethod, p)
		}
		err = i.leave(ctx, info.FullMethod, nil, start, err)
		record.End(nil, nil, err, p != nil)
	}()
	ctx, err = i.enter(ctx, info.FullMethod)
	if err != nil {
		return err
	}
	if record != nil {
		ss = &recordedStream{ss, record}
	}
	return next(srv, &transport.ServerStream{ServerStream: ss, Ctx: ctx})
}

// recordedStream tells a call's record when the answer begins.
type recordedStream struct {
	grpc.ServerStream
	record *audit.Record
}

// SendHeader implements grpc.ServerStream.
func (s *recordedStream) SendHeader(md metadata.MD) error {
	s.record.Started()
	return s.ServerStream.SendHeader(md)
}

// SendMsg implements grpc.ServerStream.
func (s *recordedStream) SendMsg(m any) error {
	s.record.Started()
	return s.ServerStream.SendMsg(m)
}
