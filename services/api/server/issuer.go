package server

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
)

// pathDiscovery stands for the right to read what verifies tokens.
const pathDiscovery = "/.well-known/openid-configuration"

// Issuer implements IssuerService.
type Issuer struct {
	systemv1.UnimplementedIssuerServiceServer
	Server *Server
}

// Discover implements IssuerService.
func (i *Issuer) Discover(ctx context.Context, _ *systemv1.DiscoverRequest) (*systemv1.DiscoverResponse, error) {
	if err := i.Server.AuthorizePath(ctx, pathDiscovery, "get"); err != nil {
		return nil, err
	}
	tokens, err := i.Server.config.Tokens()
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	configuration, err := tokens.OpenIDConfiguration()
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return &systemv1.DiscoverResponse{Configuration: configuration, Keys: tokens.JWKS()}, nil
}
