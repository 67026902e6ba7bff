package cluster

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"

	"github.com/spf13/pflag"
)

// Access is how callers prove who they are, and what is recorded of what they do. The zero value takes the cluster's own
// certificates and tokens, and records nothing.
type Access struct {
	OIDC OIDC `json:"oidc,omitzero"`
	// AuthenticationConfig is a file with an AuthenticationConfiguration, in OIDC's place.
	AuthenticationConfig string `json:"authenticationConfig,omitempty"`
	// DisallowAnonymous refuses callers without credentials.
	DisallowAnonymous bool `json:"disallowAnonymous,omitempty"`
	// ServiceAccountIssuer is the URL that the tokens of service accounts name as their issuer.
	ServiceAccountIssuer string `json:"serviceAccountIssuer,omitempty"`
	// APIAudiences are what tokens for the API must be for one of; empty: the issuer.
	APIAudiences []string `json:"apiAudiences,omitempty"`
	Audit        Audit    `json:"audit,omitzero"`
}

// OIDC is one issuer of OpenID Connect.
type OIDC struct {
	IssuerURL      string            `json:"issuerURL,omitempty"`
	ClientID       string            `json:"clientID,omitempty"`
	UsernameClaim  string            `json:"usernameClaim,omitempty"`
	UsernamePrefix string            `json:"usernamePrefix,omitempty"`
	GroupsClaim    string            `json:"groupsClaim,omitempty"`
	GroupsPrefix   string            `json:"groupsPrefix,omitempty"`
	RequiredClaims map[string]string `json:"requiredClaims,omitempty"`
	SigningAlgs    []string          `json:"signingAlgs,omitempty"`
	CAFile         string            `json:"caFile,omitempty"`
}

// Audit is what is recorded of the calls and where.
type Audit struct {
	PolicyFile string `json:"policyFile,omitempty"`
	LogPath    string `json:"logPath,omitempty"`
	MaxAge     int    `json:"maxAge,omitempty"`
	MaxBackups int    `json:"maxBackups,omitempty"`
	MaxSize    int    `json:"maxSize,omitempty"`
	Compress   bool   `json:"compress,omitempty"`
}

// accessFlag is a setting with its flag, which has the name that kube-apiserver gives it.
type accessFlag struct {
	name, usage string
	// field points to the setting: a *string, *int, *bool, *[]string or *map[string]string.
	field func(a *Access) any
	// isFile makes a path absolute: the daemon runs somewhere else.
	isFile bool
}

var accessFlags = []accessFlag{
	{name: "oidc-issuer-url", usage: "URL of an OpenID Connect issuer whose tokens are good here; https only", field: func(a *Access) any { return &a.OIDC.IssuerURL }},
	{name: "oidc-client-id", usage: "client ID that the issuer's tokens must be for", field: func(a *Access) any { return &a.OIDC.ClientID }},
	{name: "oidc-username-claim", usage: "claim that is the user's name (default sub)", field: func(a *Access) any { return &a.OIDC.UsernameClaim }},
	{name: "oidc-username-prefix", usage: "what goes before the user's name; - for nothing (default the issuer's URL and #, but for email)", field: func(a *Access) any { return &a.OIDC.UsernamePrefix }},
	{name: "oidc-groups-claim", usage: "claim that holds the user's groups", field: func(a *Access) any { return &a.OIDC.GroupsClaim }},
	{name: "oidc-groups-prefix", usage: "what goes before the groups' names", field: func(a *Access) any { return &a.OIDC.GroupsPrefix }},
	{name: "oidc-required-claim", usage: "claim=value that the issuer's tokens must have", field: func(a *Access) any { return &a.OIDC.RequiredClaims }},
	{name: "oidc-signing-algs", usage: "signature algorithms that are taken (default RS256)", field: func(a *Access) any { return &a.OIDC.SigningAlgs }},
	{name: "oidc-ca-file", usage: "who signs the issuer's certificate (default the system's authorities)", field: func(a *Access) any { return &a.OIDC.CAFile }, isFile: true},
	{name: "authentication-config", usage: "file with an AuthenticationConfiguration, in place of the --oidc flags", field: func(a *Access) any { return &a.AuthenticationConfig }, isFile: true},
	{name: "service-account-issuer", usage: "URL that service accounts' tokens name as their issuer", field: func(a *Access) any { return &a.ServiceAccountIssuer }},
	{name: "api-audiences", usage: "what tokens for the API must be for one of (default the issuer)", field: func(a *Access) any { return &a.APIAudiences }},
	{name: "audit-policy-file", usage: "file with an audit.k8s.io/v1 Policy: what to record of the calls", field: func(a *Access) any { return &a.Audit.PolicyFile }, isFile: true},
	{name: "audit-log-path", usage: "file for the records of calls, - for the daemon's output", field: func(a *Access) any { return &a.Audit.LogPath }, isFile: true},
	{name: "audit-log-maxage", usage: "days for which old audit files are kept (0: for ever)", field: func(a *Access) any { return &a.Audit.MaxAge }},
	{name: "audit-log-maxbackup", usage: "how many old audit files are kept (0: all)", field: func(a *Access) any { return &a.Audit.MaxBackups }},
	{name: "audit-log-maxsize", usage: "megabytes at which an audit file is rotated (0: 100)", field: func(a *Access) any { return &a.Audit.MaxSize }},
	{name: "audit-log-compress", usage: "pack old audit files", field: func(a *Access) any { return &a.Audit.Compress }},
}

const anonymousFlag = "anonymous-auth"

// AccessFlags are the flags for Access of a command.
type AccessFlags struct {
	set       *pflag.FlagSet
	given     Access
	anonymous bool
}

// NewAccessFlags adds the flags to a command's.
func NewAccessFlags(set *pflag.FlagSet) *AccessFlags {
	f := &AccessFlags{set: set}
	for _, flag := range accessFlags {
		switch field := flag.field(&f.given).(type) {
		case *string:
			set.StringVar(field, flag.name, "", flag.usage)
		case *int:
			set.IntVar(field, flag.name, 0, flag.usage)
		case *bool:
			set.BoolVar(field, flag.name, false, flag.usage)
		case *[]string:
			set.StringSliceVar(field, flag.name, nil, flag.usage)
		case *map[string]string:
			set.StringToStringVar(field, flag.name, nil, flag.usage)
		}
	}
	set.BoolVar(&f.anonymous, anonymousFlag, true, "let callers without credentials ask for what everybody may have")
	return f
}

// Changed returns the names of the flags that were given.
func (f *AccessFlags) Changed() []string {
	var out []string
	for _, flag := range accessFlags {
		if f.set.Changed(flag.name) {
			out = append(out, flag.name)
		}
	}
	if f.set.Changed(anonymousFlag) {
		out = append(out, anonymousFlag)
	}
	return out
}

// Apply changes the settings whose flags were given.
func (f *AccessFlags) Apply(to *Access) error {
	for _, flag := range accessFlags {
		if !f.set.Changed(flag.name) {
			continue
		}
		into := reflect.ValueOf(flag.field(to)).Elem()
		into.Set(reflect.ValueOf(flag.field(&f.given)).Elem())
		if path := into.Interface(); flag.isFile && path != "" && path != "-" {
			abs, err := filepath.Abs(path.(string))
			if err != nil {
				return fmt.Errorf("--%s: %w", flag.name, err)
			}
			into.SetString(abs)
		}
	}
	if f.set.Changed(anonymousFlag) {
		to.DisallowAnonymous = !f.anonymous
	}
	return to.Validate()
}

// Validate says what is wrong with the settings, in words for the person who gave them.
func (a *Access) Validate() error {
	switch {
	case (a.OIDC.IssuerURL == "") != (a.OIDC.ClientID == ""):
		return errors.New("give --oidc-issuer-url and --oidc-client-id together")
	case a.OIDC.IssuerURL == "" && !reflect.ValueOf(a.OIDC).IsZero():
		return errors.New("the other --oidc flags need --oidc-issuer-url and --oidc-client-id")
	case a.OIDC.IssuerURL != "" && a.AuthenticationConfig != "":
		return errors.New("give --authentication-config or the --oidc flags, not both")
	case (a.Audit.PolicyFile == "") != (a.Audit.LogPath == ""):
		return errors.New("give --audit-policy-file and --audit-log-path together")
	case a.Audit.MaxAge < 0 || a.Audit.MaxBackups < 0 || a.Audit.MaxSize < 0:
		return errors.New("--audit-log-maxage, --audit-log-maxbackup and --audit-log-maxsize are at least 0")
	}
	return nil
}

// Recorded reports whether calls are recorded.
func (a *Access) Recorded() bool { return a.Audit.PolicyFile != "" }
