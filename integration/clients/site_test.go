package clients

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Site is the operator's kind.
type Site struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              SiteSpec   `json:"spec"`
	Status            SiteStatus `json:"status,omitempty"`
}

// SiteSpec is what its author wants.
type SiteSpec struct {
	Pages int `json:"pages,omitempty"`
}

// SiteStatus is what the operator has seen to.
type SiteStatus struct {
	Ready bool `json:"ready,omitempty"`
}

// DeepCopyObject implements runtime.Object.
func (s *Site) DeepCopyObject() runtime.Object {
	out := *s
	s.DeepCopyInto(&out.ObjectMeta)
	return &out
}

// SiteList is a list of them.
type SiteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Site `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (l *SiteList) DeepCopyObject() runtime.Object {
	out := *l
	out.Items = nil
	for i := range l.Items {
		out.Items = append(out.Items, *l.Items[i].DeepCopyObject().(*Site))
	}
	return &out
}

func siteDefinition() client.Object {
	object := func(field, kind string) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{field: {Type: kind}}}
	}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "sites.clients.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "clients.example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "sites", Singular: "site", Kind: "Site", ListKind: "SiteList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": object("pages", "integer"), "status": object("ready", "boolean")},
				}},
			}},
		},
	}
}

// install creates an object that the test takes away again.
func install(t *testing.T, c client.Client, obj client.Object) {
	require.NoError(t, c.Create(t.Context(), obj))
	t.Cleanup(func() { _ = c.Delete(context.Background(), obj) })
	if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok {
		require.Eventually(t, func() bool {
			if c.Get(t.Context(), client.ObjectKeyFromObject(crd), crd) != nil {
				return false
			}
			for _, condition := range crd.Status.Conditions {
				if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
					return true
				}
			}
			return false
		}, wait, 20*time.Millisecond)
	}
}

func mutating(cert *certificate) client.Object {
	none := admissionv1.SideEffectClassNone
	return &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "clients.example.com"}, Webhooks: []admissionv1.MutatingWebhook{{
		Name: "mutate.clients.example.com", ClientConfig: cert.client("/mutate"), Rules: siteRules(), SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
	}}}
}

func validating(cert *certificate) client.Object {
	none := admissionv1.SideEffectClassNone
	return &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "clients.example.com"}, Webhooks: []admissionv1.ValidatingWebhook{{
		Name: "validate.clients.example.com", ClientConfig: cert.client("/validate"), Rules: siteRules(), SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
	}}}
}

// certificate is what the webhook's server shows, on a free port.
type certificate struct {
	dir  string
	pem  []byte
	port int
}

func newCertificate(t *testing.T) *certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "webhook"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	c := &certificate{dir: t.TempDir(), pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "tls.crt"), c.pem, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c.port = l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	return c
}

func (c *certificate) client(path string) admissionv1.WebhookClientConfig {
	url := fmt.Sprintf("https://127.0.0.1:%d%s", c.port, path)
	return admissionv1.WebhookClientConfig{URL: &url, CABundle: bytes.Clone(c.pem)}
}

func (c *certificate) waitServing(t *testing.T) {
	require.Eventually(t, func() bool {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.port), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}, wait, 20*time.Millisecond)
}
