package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
)

// Ref names an object that a token is bound to.
type Ref struct {
	Name string `json:"name"`
	UID  string `json:"uid,omitempty"`
}

// TokenSpec says whom a service-account token is for. Audiences and Life must be set.
type TokenSpec struct {
	Namespace      string
	ServiceAccount Ref
	// Pod, Node and Secret are set for a token that ends with that object.
	Pod, Node, Secret *Ref
	Audiences         []string
	Life              time.Duration
}

// Claims is what a verified token says.
type Claims struct {
	TokenSpec
	ID                           string
	Issuer, Subject              string
	IssuedAt, NotBefore, Expires time.Time
}

// Tokens signs and verifies service-account tokens (ES256). It is safe for concurrent use.
type Tokens struct {
	issuer string
	signer jose.Signer
	keys   map[string]*ecdsa.PublicKey
	jwks   []byte
}

const saKey = "sa.key"

func loadOrCreateTokens(pki, issuer string) (*Tokens, error) {
	unlock, err := lockDir(pki)
	if err != nil {
		return nil, err
	}
	defer unlock()
	key, err := loadOrCreateKey(filepath.Join(pki, saKey))
	if err != nil {
		return nil, fmt.Errorf("key for service-account tokens: %w", err)
	}
	return NewTokens(issuer, key)
}

func loadOrCreateKey(path string) (*ecdsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		if data, err = encodeKey(key); err != nil {
			return nil, err
		}
		return key, writeFile(path, data, 0o600)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", path)
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// NewTokens returns a signer with a P-256 key.
func NewTokens(issuer string, key *ecdsa.PrivateKey) (*Tokens, error) {
	kid, err := keyID(key.Public())
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		return nil, fmt.Errorf("signer of tokens: %w", err)
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: kid, Algorithm: string(jose.ES256), Use: "sig"}}}
	jwks, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("encode the key set: %w", err)
	}
	return &Tokens{issuer: issuer, signer: signer, keys: map[string]*ecdsa.PublicKey{kid: &key.PublicKey}, jwks: jwks}, nil
}

func keyID(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("encode a public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// privateClaims is the kubernetes.io claim, and on the way out the audiences: Kubernetes writes even a single one as a
// list.
type privateClaims struct {
	Audiences  jwtAudiences `json:"aud,omitempty"`
	Kubernetes struct {
		Namespace      string `json:"namespace,omitempty"`
		Node           *Ref   `json:"node,omitempty"`
		Pod            *Ref   `json:"pod,omitempty"`
		Secret         *Ref   `json:"secret,omitempty"`
		ServiceAccount Ref    `json:"serviceaccount"`
	} `json:"kubernetes.io"`
}

// jwtAudiences writes a list and reads a list or a single string.
type jwtAudiences []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *jwtAudiences) UnmarshalJSON(data []byte) error {
	return (*jwt.Audience)(a).UnmarshalJSON(data)
}

// Sign returns a new token and when it ends.
func (t *Tokens) Sign(spec TokenSpec) (token string, expires time.Time, err error) {
	now := time.Now().Truncate(time.Second)
	expires = now.Add(spec.Life)
	public := jwt.Claims{
		Issuer: t.issuer, Subject: ServiceAccountUser(spec.Namespace, spec.ServiceAccount.Name),
		Expiry: jwt.NewNumericDate(expires), NotBefore: jwt.NewNumericDate(now), IssuedAt: jwt.NewNumericDate(now), ID: uuid.NewString(),
	}
	private := privateClaims{Audiences: spec.Audiences}
	private.Kubernetes.Namespace, private.Kubernetes.ServiceAccount = spec.Namespace, spec.ServiceAccount
	private.Kubernetes.Pod, private.Kubernetes.Node, private.Kubernetes.Secret = spec.Pod, spec.Node, spec.Secret
	token, err = jwt.Signed(t.signer).Claims(public).Claims(private).Serialize()
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign a token for %s: %w", public.Subject, err)
	}
	return token, expires, nil
}

// ErrNotOurs is returned for tokens that another issuer made.
var ErrNotOurs = errors.New("the token was not issued by this cluster")

// Verify checks a token's signature, issuer and times. Audiences and the objects that it is bound to are the caller's
// to check.
func (t *Tokens) Verify(token string) (Claims, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrNotOurs, err)
	}
	key := t.keys[parsed.Headers[0].KeyID]
	if key == nil {
		return Claims{}, ErrNotOurs
	}
	var public jwt.Claims
	var private privateClaims
	if err := parsed.Claims(key, &public, &private); err != nil {
		return Claims{}, fmt.Errorf("check the token's signature: %w", err)
	}
	if err := public.ValidateWithLeeway(jwt.Expected{Issuer: t.issuer, Time: time.Now()}, 0); err != nil {
		return Claims{}, fmt.Errorf("check the token: %w", err)
	}
	if public.Expiry == nil || public.Subject != ServiceAccountUser(private.Kubernetes.Namespace, private.Kubernetes.ServiceAccount.Name) {
		return Claims{}, errors.New("the token's claims do not fit together")
	}
	k := private.Kubernetes
	return Claims{
		TokenSpec: TokenSpec{Namespace: k.Namespace, ServiceAccount: k.ServiceAccount, Pod: k.Pod, Node: k.Node, Secret: k.Secret, Audiences: public.Audience},
		ID:        public.ID, Issuer: public.Issuer, Subject: public.Subject,
		IssuedAt: public.IssuedAt.Time(), NotBefore: public.NotBefore.Time(), Expires: public.Expiry.Time(),
	}, nil
}

// Issuer returns the issuer's URL.
func (t *Tokens) Issuer() string { return t.issuer }

// JWKS returns the public keys as the JSON document behind /openid/v1/jwks.
func (t *Tokens) JWKS() []byte { return t.jwks }

// OpenIDConfiguration returns the JSON document behind /.well-known/openid-configuration.
func (t *Tokens) OpenIDConfiguration() ([]byte, error) {
	return json.Marshal(map[string]any{
		"issuer": t.issuer, "jwks_uri": strings.TrimSuffix(t.issuer, "/") + "/openid/v1/jwks",
		"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{string(jose.ES256)},
	})
}
