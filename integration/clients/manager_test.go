package clients

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// TestManager runs an operator: a kind of its own, a reconciler with a finalizer, and a webhook that defaults and validates.
func TestManager(t *testing.T) {
	ctrl.SetLogger(zap.New(zap.UseDevMode(true)))
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, apiextensionsv1.AddToScheme(scheme))
	gv := schema.GroupVersion{Group: "clients.example.com", Version: "v1"}
	scheme.AddKnownTypes(gv, &Site{}, &SiteList{})
	metav1.AddToGroupVersion(scheme, gv)

	cfg := config(t)
	cert := newCertificate(t)
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, LeaderElection: true, LeaderElectionID: "clients.example.com",
		LeaderElectionNamespace: "default", LeaderElectionReleaseOnCancel: true,
		WebhookServer: webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: cert.port, CertDir: cert.dir}),
	})
	require.NoError(t, err)
	direct, err := client.New(cfg, client.Options{Scheme: scheme})
	require.NoError(t, err)
	install(t, direct, siteDefinition())
	require.NoError(t, ctrl.NewControllerManagedBy(mgr).For(&Site{}).Owns(&corev1.ConfigMap{}).Complete(&reconciler{mgr.GetClient()}))
	mgr.GetWebhookServer().Register("/mutate", &webhook.Admission{Handler: admission.HandlerFunc(mutate)})
	mgr.GetWebhookServer().Register("/validate", &webhook.Admission{Handler: admission.HandlerFunc(validate)})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	defer func() {
		stop()
		require.NoError(t, <-ended)
	}()
	cert.waitServing(t)
	install(t, direct, mutating(cert))
	install(t, direct, validating(cert))
	siteLives(t, direct)
}

// siteLives takes a Site through its life.
func siteLives(t *testing.T, c client.Client) {
	ctx := t.Context()
	refused := &Site{ObjectMeta: metav1.ObjectMeta{Name: "big", Namespace: "default"}, Spec: SiteSpec{Pages: 9}}
	require.Eventually(t, func() bool {
		err := c.Create(ctx, refused.DeepCopyObject().(*Site), client.DryRunAll)
		return apierrors.IsForbidden(err)
	}, wait, 50*time.Millisecond)
	require.ErrorContains(t, c.Create(ctx, refused), `admission webhook "validate.clients.example.com" denied the request: at most 5 pages`)

	site := &Site{ObjectMeta: metav1.ObjectMeta{Name: "home", Namespace: "default"}}
	require.NoError(t, c.Create(ctx, site))
	require.EqualValues(t, 1, site.Spec.Pages, "the webhook's default")
	key := client.ObjectKeyFromObject(site)
	require.Eventually(t, func() bool {
		return c.Get(ctx, key, site) == nil && site.Status.Ready && controllerutil.ContainsFinalizer(site, finalizer)
	}, wait, 20*time.Millisecond)
	var made corev1.ConfigMap
	require.NoError(t, c.Get(ctx, key, &made))
	require.Equal(t, "1", made.Data["pages"])
	require.Equal(t, site.UID, made.OwnerReferences[0].UID)

	// What the operator owns comes back.
	require.NoError(t, c.Delete(ctx, &made))
	require.Eventually(t, func() bool { return c.Get(ctx, key, &corev1.ConfigMap{}) == nil }, wait, 20*time.Millisecond)
	require.NoError(t, c.Patch(ctx, site, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"pages":4}}`))))
	require.Eventually(t, func() bool { return c.Get(ctx, key, &made) == nil && made.Data["pages"] == "4" }, wait, 20*time.Millisecond)

	require.NoError(t, c.Delete(ctx, site))
	require.Eventually(t, func() bool {
		return apierrors.IsNotFound(c.Get(ctx, key, site)) && apierrors.IsNotFound(c.Get(ctx, key, &made))
	}, wait, 20*time.Millisecond)
}

const finalizer = "clients.example.com/goodbye"

type reconciler struct{ client.Client }

// Reconcile keeps a ConfigMap with the number of pages.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var site Site
	if err := r.Get(ctx, req.NamespacedName, &site); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !site.DeletionTimestamp.IsZero() {
		if controllerutil.RemoveFinalizer(&site, finalizer) {
			return ctrl.Result{}, r.Update(ctx, &site)
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(&site, finalizer) {
		return ctrl.Result{}, r.Update(ctx, &site)
	}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: site.Name, Namespace: site.Namespace}}
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, cm, func() error {
		cm.Data = map[string]string{"pages": fmt.Sprint(site.Spec.Pages)}
		return controllerutil.SetControllerReference(&site, cm, r.Scheme())
	})
	if err != nil || site.Status.Ready {
		return ctrl.Result{}, err
	}
	site.Status.Ready = true
	return ctrl.Result{}, r.Status().Update(ctx, &site)
}

func mutate(_ context.Context, req admission.Request) admission.Response {
	var site Site
	if err := json.Unmarshal(req.Object.Raw, &site); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if site.Spec.Pages == 0 {
		site.Spec.Pages = 1
	}
	now, err := json.Marshal(&site)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(req.Object.Raw, now)
}

func validate(_ context.Context, req admission.Request) admission.Response {
	var site Site
	if err := json.Unmarshal(req.Object.Raw, &site); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if site.Spec.Pages > 5 {
		return admission.Denied("at most 5 pages")
	}
	return admission.Allowed("")
}

func siteRules() []admissionv1.RuleWithOperations {
	return []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
		Rule:       admissionv1.Rule{APIGroups: []string{"clients.example.com"}, APIVersions: []string{"v1"}, Resources: []string{"sites"}},
	}}
}
