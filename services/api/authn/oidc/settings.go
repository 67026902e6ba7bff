package oidc

import (
	"fmt"
	"os"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/cel"
)

// Simple is one issuer, as kube-apiserver's flags --oidc-… describe it.
type Simple struct {
	IssuerURL string `json:"issuerURL"`
	ClientID  string `json:"clientID"`
	// UsernameClaim is "sub" when empty. UsernamePrefix is the issuer's URL and # when empty, unless the claim is "email";
	// "-" stands for none.
	UsernameClaim  string            `json:"usernameClaim,omitempty"`
	UsernamePrefix string            `json:"usernamePrefix,omitempty"`
	GroupsClaim    string            `json:"groupsClaim,omitempty"`
	GroupsPrefix   string            `json:"groupsPrefix,omitempty"`
	RequiredClaims map[string]string `json:"requiredClaims,omitempty"`
	// SigningAlgs is RS256 when empty.
	SigningAlgs []string `json:"signingAlgs,omitempty"`
	// CAFile holds who signs the issuer's certificate; empty: the system's authorities.
	CAFile string `json:"caFile,omitempty"`
}

func (s *Simple) algorithms() []string {
	if len(s.SigningAlgs) == 0 {
		return []string{"RS256"}
	}
	return s.SigningAlgs
}

// configuration returns the settings in the form of the file.
func (s *Simple) configuration() (*apiserver.AuthenticationConfiguration, error) {
	for _, a := range s.SigningAlgs {
		if !slices.Contains(allAlgorithms, a) {
			return nil, fmt.Errorf("--oidc-signing-algs: unsupported signing algorithm %q", a)
		}
	}
	claim, prefix := s.UsernameClaim, s.UsernamePrefix
	if claim == "" {
		claim = "sub"
	}
	switch {
	case prefix == "-":
		prefix = ""
	case prefix == "" && claim != "email":
		prefix = s.IssuerURL + "#"
	}
	one := apiserver.JWTAuthenticator{
		Issuer:        apiserver.Issuer{URL: s.IssuerURL, Audiences: []string{s.ClientID}},
		ClaimMappings: apiserver.ClaimMappings{Username: apiserver.PrefixedClaimOrExpression{Claim: claim, Prefix: &prefix}},
	}
	if s.GroupsClaim != "" {
		one.ClaimMappings.Groups = apiserver.PrefixedClaimOrExpression{Claim: s.GroupsClaim, Prefix: &s.GroupsPrefix}
	}
	for claim, value := range s.RequiredClaims {
		one.ClaimValidationRules = append(one.ClaimValidationRules, apiserver.ClaimValidationRule{Claim: claim, RequiredValue: value})
	}
	if s.CAFile != "" {
		ca, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--oidc-ca-file: %w", err)
		}
		one.Issuer.CertificateAuthority = string(ca)
	}
	return &apiserver.AuthenticationConfiguration{JWT: []apiserver.JWTAuthenticator{one}}, nil
}

var decoder = sync.OnceValue(func() runtime.Decoder {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder()
})

// load reads a file, whichever version it is of. Fields that nobody knows are refused.
func load(file string) (*apiserver.AuthenticationConfiguration, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the settings of authentication: %w", err)
	}
	obj, err := runtime.Decode(decoder(), raw)
	if err != nil {
		return nil, fmt.Errorf("read the settings of authentication in %s: %w", file, err)
	}
	out, ok := obj.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("read the settings of authentication in %s: it holds a %T", file, obj)
	}
	return out, nil
}

// compile checks settings as Kubernetes does and makes their issuers ready.
func compile(from *apiserver.AuthenticationConfiguration, own, algorithms []string) (*settings, error) {
	compiler := &lazyCompiler{}
	if errs := validation.ValidateAuthenticationConfiguration(compiler, from, own); len(errs) > 0 {
		return nil, fmt.Errorf("the settings of authentication are not valid: %w", errs.ToAggregate())
	}
	out := &settings{issuers: map[string]*issuer{}, anonymous: from.Anonymous}
	for i := range from.JWT {
		one := &from.JWT[i]
		mapper, errs := validation.CompileAndValidateJWTAuthenticator(compiler, *one, own)
		if len(errs) > 0 {
			return nil, fmt.Errorf("the settings of issuer %s are not valid: %w", one.Issuer.URL, errs.ToAggregate())
		}
		made, err := newIssuer(one, mapper, algorithms)
		if err != nil {
			return nil, err
		}
		out.issuers[one.Issuer.URL] = made
	}
	return out, nil
}

// lazyCompiler makes what compiles expressions when there is one: it takes some megabytes, and many settings have none.
type lazyCompiler struct{ real cel.Compiler }

var _ cel.Compiler = (*lazyCompiler)(nil)

func (l *lazyCompiler) get() cel.Compiler {
	if l.real == nil {
		l.real = cel.NewDefaultCompiler()
	}
	return l.real
}

// CompileClaimsExpression implements cel.Compiler.
func (l *lazyCompiler) CompileClaimsExpression(e cel.ExpressionAccessor) (cel.CompilationResult, error) {
	return l.get().CompileClaimsExpression(e)
}

// CompileUserExpression implements cel.Compiler.
func (l *lazyCompiler) CompileUserExpression(e cel.ExpressionAccessor) (cel.CompilationResult, error) {
	return l.get().CompileUserExpression(e)
}
