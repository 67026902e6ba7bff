package bootstrap

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The keys of a bootstrap token's Secret.
const (
	namePrefix    = "bootstrap-token-"
	keyID         = "token-id"
	keySecret     = "token-secret"
	keyExpiration = "expiration"
	keySigning    = "usage-bootstrap-signing"
)

// expires returns when a token ends; ok is false for one that does not, or that nobody can read the end of.
func expires(secret *corev1.Secret) (at time.Time, ok bool) {
	raw := string(secret.Data[keyExpiration])
	if raw == "" {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339, raw)
	return at, err == nil
}

// signs returns the ID and the secret of a token that may vouch for the cluster now.
func signs(s *corev1.Secret, now time.Time) (id, secret string, ok bool) {
	id, secret = string(s.Data[keyID]), string(s.Data[keySecret])
	if s.DeletionTimestamp != nil || id == "" || secret == "" || s.Name != namePrefix+id || string(s.Data[keySigning]) != "true" {
		return "", "", false
	}
	if s.Data[keyExpiration] != nil {
		at, readable := expires(s)
		if !readable || !now.Before(at) {
			return "", "", false
		}
	}
	return id, secret, true
}

// signaturePrefix begins the keys of signatures in the ConfigMap cluster-info; a token's ID follows.
const signaturePrefix = "jws-kubeconfig-"

// signed returns what the ConfigMap's data should be: the kubeconfig with a signature by each token, and whatever else is
// there. It returns data itself when that is so already.
func signed(data map[string]string, tokens map[string]string) (map[string]string, bool, error) {
	content, ok := data[keyKubeconfig]
	if !ok {
		return data, false, nil
	}
	out := map[string]string{}
	for key, value := range data {
		if !strings.HasPrefix(key, signaturePrefix) {
			out[key] = value
		}
	}
	for id, secret := range tokens {
		signature, err := sign(content, id, secret)
		if err != nil {
			return nil, false, err
		}
		out[signaturePrefix+id] = signature
	}
	return out, !maps.Equal(out, data), nil
}

// sign returns a JWS (HS256) of content without the content itself, keyed with the token, by which somebody who has the
// token knows that the cluster has it, too. A token is shorter than what JOSE libraries take for a key.
func sign(content, id, secret string) (string, error) {
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}{"HS256", id})
	if err != nil {
		return "", fmt.Errorf("sign with bootstrap token %s: %w", id, err)
	}
	protected := base64.RawURLEncoding.EncodeToString(header)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(protected + "." + base64.RawURLEncoding.EncodeToString([]byte(content))))
	return protected + ".." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), nil
}
