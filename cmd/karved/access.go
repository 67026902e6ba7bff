package main

import (
	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/audit"
	"karve.dev/karve/services/api/authn/oidc"
)

// setAccess tells the API service how callers prove who they are and what to record.
func setAccess(c *api.Config, from cluster.Access) {
	c.NoAnonymous, c.Audiences = from.DisallowAnonymous, from.APIAudiences
	switch {
	case from.AuthenticationConfig != "":
		c.OIDC = &oidc.Config{File: from.AuthenticationConfig}
	case from.OIDC.IssuerURL != "":
		one := oidc.Simple(from.OIDC)
		c.OIDC = &oidc.Config{Simple: &one}
	}
	if from.Recorded() {
		a := from.Audit
		c.Audit = &audit.Config{PolicyFile: a.PolicyFile, Path: a.LogPath, MaxSize: a.MaxSize, MaxBackups: a.MaxBackups, MaxAge: a.MaxAge, Compress: a.Compress}
	}
}

// identityOptions are what a cluster's keys are made and read with.
func identityOptions(settings cluster.Settings) identity.Options {
	return identity.Options{Name: settings.Name, Issuer: settings.Access.ServiceAccountIssuer}
}
