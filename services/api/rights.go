package api

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/registry"
)

// Served finds a kind that is served: authorization asks for those of owners.
func (o *objects) Served(gvk schema.GroupVersionKind) (*registry.Kind, bool) {
	return o.resources.Served(gvk)
}

// issuer is the audience of the API's own tokens; empty while there is no signer.
func (s *Server) issuer() string {
	if s.config.Tokens == nil {
		return ""
	}
	tokens, err := s.config.Tokens()
	if err != nil {
		return ""
	}
	return tokens.Issuer()
}
