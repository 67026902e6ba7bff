package api

import (
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/alloc"
	"karve.dev/karve/services/api/audit"
	"karve.dev/karve/services/api/authn/oidc"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/server"
	"karve.dev/karve/services/api/store"
)

// Config makes a Server.
type Config struct {
	// Store is opened and closed by the caller.
	Store store.Store
	// EncryptionKeys is the file of the keys that Secrets are encrypted with; it is made when it is not there. Empty
	// stores them as they are.
	EncryptionKeys string
	// Tokens returns what signs and verifies service-account tokens; identity.Cluster's method of that name does.
	Tokens func() (*identity.Tokens, error)
	// ServiceCIDRs are the ranges of cluster IPs, one or one per family; the first address of the first is the API's.
	// Default 10.96.0.0/16.
	ServiceCIDRs []netip.Prefix
	// DNS is the address of the cluster's DNS, which the Service kube-dns has. Not valid: there is no such Service.
	DNS netip.Addr
	// NodePorts is the range of node ports; default 30000-32767.
	NodePorts alloc.PortRange
	// EventTTL is how long Events are kept after something last happened to them; default one hour.
	EventTTL time.Duration
	// Advertise is where pods reach the API over HTTPS: the endpoint of the Service "kubernetes". Not valid: none.
	Advertise netip.AddrPort
	// CA is the certificate of the cluster's authority, in PEM, which strangers are told of in the ConfigMap cluster-info of
	// kube-public; nil: there is none.
	CA []byte
	// FrontProxy proves to the servers of aggregated APIs that the API service has authenticated whom it names; nil: nothing does.
	FrontProxy *identity.FrontProxy
	// Companions are the names under which parts call that run in the same process, and end with it.
	Companions []string
	// Kinds are what is served; nil for all of the registry.
	Kinds []*registry.Kind
	// OpenAPI returns the documents of discovery; nil for none.
	OpenAPI server.OpenAPI
	// Nodes reaches the nodes' agents, for logs and exec; nil answers that none can be reached.
	Nodes server.NodeDialer
	// Audiences are what tokens for the API must be for one of; empty: the tokens' issuer.
	Audiences []string
	// OIDC says which other issuers' tokens are good here, and whether anybody may call without a name; nil for none.
	OIDC *oidc.Config
	// NoAnonymous refuses callers without credentials.
	NoAnonymous bool
	// Audit says what is recorded of the calls, and where; nil: nothing.
	Audit *audit.Config
	// Metrics takes the service's metrics, Gatherer is what SystemService shows; nil for none.
	Metrics  prometheus.Registerer
	Gatherer prometheus.Gatherer
	// Log is nil for none.
	Log *zap.Logger
}

func (c *Config) setDefaults() {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Kinds == nil {
		c.Kinds = registry.All()
	}
	if len(c.ServiceCIDRs) == 0 {
		c.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}
	}
	if c.NodePorts == (alloc.PortRange{}) {
		c.NodePorts = alloc.PortRange{First: 30000, Last: 32767}
	}
	if c.EventTTL == 0 {
		c.EventTTL = time.Hour
	}
}
