package volume

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// patience is how long a pod's start waits for a certificate before it says so and tries again later.
const (
	patience = 3 * time.Second
	askAgain = 100 * time.Millisecond
)

var keyTypes = map[string]func() (crypto.Signer, error){
	"RSA3072":   func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 3072) },
	"RSA4096":   func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 4096) },
	"ECDSAP256": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
	"ECDSAP384": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
	"ECDSAP521": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) },
	"ED25519": func() (crypto.Signer, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	},
}

// certificates keeps each projected key with its certificate until that is due for renewal. Keys live in memory and in
// the pods' volumes only. A pod's are forgotten with it.
type certificates struct {
	mu    sync.Mutex
	byKey map[string]*heldCertificate
}

type heldCertificate struct {
	key, chain string // PEM; chain is empty until a first one is issued
	refresh    time.Time
	// nextKey belongs to request, which has been made and not been answered yet.
	nextKey, request string
}

func (m *Manager) addCertificate(ctx context.Context, r *request, c content, p *corev1.PodCertificateProjection, def int32) error {
	held := m.certificates.of(r, p)
	if held.chain == "" {
		held.recall(r, p)
	}
	if held.chain == "" || time.Now().After(held.refresh) {
		err := m.renew(ctx, r.pod, p, held)
		if err != nil && held.chain == "" {
			return err
		}
		if err != nil {
			r.refreshBy(time.Now().Add(time.Minute)) // what is there stays in use
		}
	}
	if held.refresh.After(time.Now()) {
		r.refreshBy(held.refresh)
	}
	for _, file := range []struct{ path, text string }{
		{p.CredentialBundlePath, held.key + held.chain}, {p.KeyPath, held.key}, {p.CertificateChainPath, held.chain},
	} {
		if file.path == "" {
			continue
		}
		if err := c.addPrivate(r.pod, file.path, []byte(file.text), def); err != nil {
			return err
		}
	}
	return nil
}

// recall takes the key and the certificate that lie in the volume already, if they are still good: an agent that starts
// finds them there.
func (h *heldCertificate) recall(r *request, p *corev1.PodCertificateProjection) {
	if p.CredentialBundlePath != "" {
		key, chain := pem.Decode(heldFile(r, p.CredentialBundlePath))
		if key == nil {
			return
		}
		h.key, h.chain = string(pem.EncodeToMemory(key)), string(chain)
	} else {
		h.key, h.chain = string(heldFile(r, p.KeyPath)), string(heldFile(r, p.CertificateChainPath))
	}
	pair, err := tls.X509KeyPair([]byte(h.chain), []byte(h.key))
	if err != nil || time.Now().After(pair.Leaf.NotAfter) {
		h.key, h.chain = "", ""
		return
	}
	h.refresh = soon(pair.Leaf.NotBefore, pair.Leaf.NotAfter)
}

func (s *certificates) of(r *request, p *corev1.PodCertificateProjection) *heldCertificate {
	key := strings.Join([]string{string(r.pod.UID), r.spec.Name, p.SignerName, p.KeyType, p.CredentialBundlePath, p.KeyPath}, "\x00")
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.byKey[key]
	if held == nil {
		held = &heldCertificate{}
		s.byKey[key] = held
	}
	return held
}

func (s *certificates) forget(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.byKey {
		if strings.HasPrefix(key, uid+"\x00") {
			delete(s.byKey, key)
		}
	}
}

// renew asks for a certificate, or looks what has become of an earlier request. A pod's volumes are made by one
// goroutine at a time, so held needs no lock.
func (m *Manager) renew(ctx context.Context, pod *corev1.Pod, p *corev1.PodCertificateProjection, held *heldCertificate) error {
	if held.request == "" {
		key, csr, err := newKey(p.KeyType)
		if err != nil {
			return err
		}
		name, err := m.control.RequestCertificate(ctx, pod, p, csr)
		if err != nil {
			return fmt.Errorf("request a certificate: %w", err)
		}
		held.nextKey, held.request = key, name
	}
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	for deadline := time.Now().Add(patience); ; {
		st, err := m.control.CertificateRequest(ctx, pod.Namespace, held.request)
		if err != nil {
			held.request = "" // it may be gone: the next attempt makes another
			return fmt.Errorf("read the certificate request: %w", err)
		}
		done, err := answer(st, held)
		if done || err != nil {
			held.request = ""
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("podcertificaterequest %q of signer %q is not answered yet", held.request, p.SignerName)
		}
		timer := time.NewTimer(askAgain)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// answer takes what a signer has said.
func answer(st *certificatesv1.PodCertificateRequestStatus, held *heldCertificate) (done bool, err error) {
	for _, c := range st.Conditions {
		if c.Status != metav1.ConditionTrue {
			continue
		}
		switch c.Type {
		case certificatesv1.PodCertificateRequestConditionTypeDenied, certificatesv1.PodCertificateRequestConditionTypeFailed:
			return false, fmt.Errorf("the signer's answer: %s: %s: %s", c.Type, c.Reason, c.Message)
		case certificatesv1.PodCertificateRequestConditionTypeIssued:
			if st.BeginRefreshAt == nil || st.CertificateChain == "" {
				return false, errors.New("the signer has issued nothing")
			}
			held.key, held.chain, held.refresh = held.nextKey, chainOf(st.CertificateChain), st.BeginRefreshAt.Time
			return true, nil
		}
	}
	return false, nil
}

// chainOf leaves out what stands between certificates.
func chainOf(text string) string {
	var out strings.Builder
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
	}
	return out.String()
}

// newKey makes a key, as PEM, and a request that says nothing but that whoever asks has it.
func newKey(kind string) (text string, csr []byte, err error) {
	generate, ok := keyTypes[kind]
	if !ok {
		return "", nil, fmt.Errorf("unknown key type %q", kind)
	}
	key, err := generate()
	if err != nil {
		return "", nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", nil, fmt.Errorf("encode a key: %w", err)
	}
	csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return "", nil, fmt.Errorf("sign a request: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), csr, nil
}
