package api

import (
	"context"
	"net"

	"go.uber.org/zap"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/admission/expression"
	"karve.dev/karve/services/api/admission/match"
	"karve.dev/karve/services/api/admission/policy"
	hooks "karve.dev/karve/services/api/admission/webhook"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/server"
)

// dynamic are the admission plugins that ask what the cluster's users have set up, in their order.
func (s *Server) dynamic(r *server.Server) []admission.Plugin {
	compiler := expression.NewCompiler()
	s.policies = policy.New(policy.Config{
		World: world{r}, Compiler: compiler, Authorize: s.authz.Authorize, Types: s.fields.Types, Store: s.storePolicy,
		OpenAPI: s.documents,
	})
	return []admission.Plugin{
		s.policies,
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

// documents are the OpenAPI documents of what is served here; empty when there are none.
func (s *Server) documents(groupVersion string, major int) (document []byte, tag string, err error) {
	if documents := s.extension.OpenAPI(s.config.OpenAPI); documents != nil {
		return documents(groupVersion, major)
	}
	return nil, "", nil
}

// storePolicy changes a policy's status. One that has gone needs none, and one that cannot be stored gets it after the next
// start.
func (s *Server) storePolicy(ctx context.Context, name string, change func(*admissionregistrationv1.ValidatingAdmissionPolicy)) {
	gvk := admissionregistrationv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicy")
	err := s.resources.Batch(ctx, gvk, []server.Change{{Name: name, Do: func(old registry.Object) (server.Outcome, error) {
		change(old.(*admissionregistrationv1.ValidatingAdmissionPolicy))
		return server.Outcome{Next: old}, nil
	}}})[0]
	if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
		s.config.Log.Warn("the status of a policy was not stored", zap.String("policy", name), zap.Error(err))
	}
}
