package certificates_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/lifecycle/certificates"
)

type world struct {
	*testing.T
	api   *apitest.Cluster
	admin *client.Client
}

func start(t *testing.T) *world {
	api := apitest.Start(t)
	controllers := identity.User{Name: identity.UserControllers}
	set := informer.NewSet(api.Client(controllers), zap.NewNop())
	runs := []func(context.Context) error{
		certificates.New(api.Client(controllers), set, zap.NewNop()).Run,
		certificates.NewSigner(api.Client(controllers), set, api.Identity, zap.NewNop()).Run,
		set.Run,
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range runs {
		wg.Go(func() { _ = run(ctx) })
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return &world{T: t, api: api, admin: api.Client(apitest.Admin)}
}

// request makes a key and a request for its certificate.
func request(t *testing.T, template x509.CertificateRequest) ([]byte, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), key
}

func named(user string, groups ...string) x509.CertificateRequest {
	return x509.CertificateRequest{Subject: pkix.Name{CommonName: user, Organization: groups}}
}

func csr(name, signer string, body []byte, usages ...certificatesv1.KeyUsage) *certificatesv1.CertificateSigningRequest {
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       certificatesv1.CertificateSigningRequestSpec{SignerName: signer, Request: body, Usages: usages},
	}
}

func (w *world) approve(r *certificatesv1.CertificateSigningRequest) {
	r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "ByHand", LastUpdateTime: metav1.Now(),
	})
	require.NoError(w, w.admin.UpdateSubresource(w.Context(), r, "approval"))
}

func (w *world) await(r *certificatesv1.CertificateSigningRequest, what string, check func() bool) {
	w.Helper()
	require.Eventually(w, func() bool {
		require.NoError(w, w.admin.Get(w.Context(), r, "", r.Name))
		return check()
	}, 10*time.Second, 5*time.Millisecond, what)
}

func has(r *certificatesv1.CertificateSigningRequest, of certificatesv1.RequestConditionType) bool {
	return slices.ContainsFunc(r.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool { return c.Type == of })
}

func TestAnApprovedRequestGetsAClientCertificate(t *testing.T) {
	w := start(t)
	body, key := request(t, named("jane", "devs"))
	r := csr("jane", certificatesv1.KubeAPIServerClientSignerName, body, certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature)
	seconds := int32(3600)
	r.Spec.ExpirationSeconds = &seconds
	require.NoError(t, w.admin.Create(t.Context(), r))
	require.Equal(t, apitest.Admin.Name, r.Spec.Username, "the server says who asks")
	w.approve(r)
	w.await(r, "certificate", func() bool { return len(r.Status.Certificate) > 0 })

	block, _ := pem.Decode(r.Status.Certificate)
	cert, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(time.Hour), cert.NotAfter, time.Minute)
	// A real handshake with a server of the cluster says whom the certificate names.
	lis, err := tls.Listen("tcp", "127.0.0.1:0", w.api.Identity.ServerTLS(identity.Spec{CommonName: "x", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}))
	require.NoError(t, err)
	defer lis.Close()
	seen := make(chan pkix.Name, 1)
	go func() {
		conn, err := lis.Accept()
		if err == nil && conn.(*tls.Conn).HandshakeContext(context.Background()) == nil {
			seen <- conn.(*tls.Conn).ConnectionState().VerifiedChains[0][0].Subject
		}
		close(seen)
	}()
	roots := x509.NewCertPool()
	roots.AddCert(w.api.Identity.CA())
	conn, err := tls.Dial("tcp", lis.Addr().String(), &tls.Config{
		RootCAs: roots, Certificates: []tls.Certificate{{Certificate: [][]byte{block.Bytes}, PrivateKey: key}},
	})
	require.NoError(t, err)
	defer conn.Close()
	subject := <-seen
	require.Equal(t, "jane", subject.CommonName)
	require.Equal(t, []string{"devs"}, subject.Organization)
}

func TestASignerRefusesWhatItIsNotFor(t *testing.T) {
	w := start(t)
	node := named("system:node:n1", "system:nodes")
	serving := node
	serving.DNSNames = []string{"n1"}
	for what, c := range map[string]struct {
		signer   string
		template x509.CertificateRequest
		usages   []certificatesv1.KeyUsage
		message  string
	}{
		"a client that wants to serve": {certificatesv1.KubeAPIServerClientSignerName, named("jane"), []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth, certificatesv1.UsageServerAuth}, "invalid usage for client certificate: server auth"},
		"no client":                    {certificatesv1.KubeAPIServerClientSignerName, named("jane"), []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature}, "missing required usage for client certificate: client auth"},
		"a server without a name":      {certificatesv1.KubeletServingSignerName, node, []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}, "DNS or IP subjectAltName is required"},
		"a node of another group":      {certificatesv1.KubeletServingSignerName, named("system:node:n1", "devs"), []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}, "subject organization is not system:nodes"},
		"a node's client with names":   {certificatesv1.KubeAPIServerClientKubeletSignerName, serving, []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}, "DNS, IP, email and URI subjectAltNames are not allowed in a node's client certificate"},
	} {
		body, _ := request(t, c.template)
		r := csr("", c.signer, body, c.usages...)
		r.GenerateName = "bad-"
		require.NoError(t, w.admin.Create(t.Context(), r), what)
		w.approve(r)
		w.await(r, what, func() bool { return has(r, certificatesv1.CertificateFailed) })
		require.Empty(t, r.Status.Certificate, what)
		failed := r.Status.Conditions[slices.IndexFunc(r.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
			return c.Type == certificatesv1.CertificateFailed
		})]
		require.Equal(t, "SignerValidationFailure", failed.Reason, what)
		require.Equal(t, c.message, failed.Message, what)
	}
}

func TestNodesGetTheirClientCertificatesByThemselves(t *testing.T) {
	w := start(t)
	usages := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}
	for what, who := range map[string]identity.User{
		"a node that joins":          {Name: "system:bootstrap:abcdef", Groups: []string{"system:bootstrappers", "system:authenticated"}},
		"a node that renews its own": {Name: "system:node:n1", Groups: []string{"system:nodes", "system:authenticated"}},
	} {
		body, _ := request(t, named("system:node:n1", "system:nodes"))
		r := csr("", certificatesv1.KubeAPIServerClientKubeletSignerName, body, usages...)
		r.GenerateName = "node-"
		require.NoError(t, w.api.Client(who).Create(t.Context(), r), what)
		w.await(r, what, func() bool { return len(r.Status.Certificate) > 0 })
		require.Equal(t, "AutoApproved", r.Status.Conditions[0].Reason, what)
	}
	// Another node's name is not one's own, and people ask people.
	body, _ := request(t, named("system:node:n2", "system:nodes"))
	other := csr("other", certificatesv1.KubeAPIServerClientKubeletSignerName, body, usages...)
	require.NoError(t, w.api.Client(identity.User{Name: "system:node:n1", Groups: []string{"system:nodes"}}).Create(t.Context(), other))
	body, _ = request(t, named("jane"))
	last := csr("jane", certificatesv1.KubeAPIServerClientSignerName, body, certificatesv1.UsageClientAuth)
	require.NoError(t, w.admin.Create(t.Context(), last))
	w.approve(last)
	w.await(last, "certificate", func() bool { return len(last.Status.Certificate) > 0 })
	require.NoError(t, w.admin.Get(t.Context(), other, "", "other"))
	require.Empty(t, other.Status.Conditions)
}
