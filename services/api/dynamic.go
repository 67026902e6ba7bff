package api

import (
	"context"
	"net"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/admission/expression"
	"karve.dev/karve/services/api/admission/match"
	"karve.dev/karve/services/api/admission/policy"
	hooks "karve.dev/karve/services/api/admission/webhook"
	"karve.dev/karve/services/api/server"
)

// dynamic are the admission plugins that ask what the cluster's users have set up, in their order.
func (s *Server) dynamic(r *server.Server) []admission.Plugin {
	compiler := expression.NewCompiler()
	return []admission.Plugin{
		policy.New(policy.Config{World: world{r}, Compiler: compiler, Authorize: s.authz.Authorize, Types: s.fields.Types}),
		hooks.New(hooks.Config{
			World: world{r}, Client: s.webhooks, Compiler: compiler, Authorize: s.authz.Authorize, Log: s.config.Log,
		}),
	}
}

// dialService reaches the webhooks that are behind Services.
func (s *Server) dialService(ctx context.Context, namespace, service string, port int32) (net.Conn, error) {
	return s.reach.Dial(ctx, namespace, service, port)
}

// world is what matching has to know of the cluster.
type world struct{ *server.Server }

var _ match.World = world{}

// Namespace implements match.World.
func (w world) Namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	obj, err := w.Read(ctx, corev1.SchemeGroupVersion.WithKind("Namespace"), "", name)
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.Namespace), nil
}
